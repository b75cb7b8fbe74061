"""Real processes and servers, faults that are done to them, and a checker of the invariants."""
