"""The error of private servers that cannot start."""


class LaunchError(Exception):
    """A start failed; the message is one line for the terminal: what was found, and what to do about it."""
