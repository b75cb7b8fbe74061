"""A payment that waits for a person."""
