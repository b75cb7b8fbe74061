"""A nightly report that catches up."""
