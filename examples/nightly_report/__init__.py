"""A nightly report that catches up: see README.md beside this file."""
