"""Measures how fast Callboard is, beside plain Dramatiq in the same run."""
