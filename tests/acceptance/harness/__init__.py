"""Real processes and servers, faults done to them, and a checker of what must hold all the same."""
