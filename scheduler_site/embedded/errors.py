"""What goes wrong while private servers start."""


class LaunchError(Exception):
    """One line for the person at the terminal: what was found, and what to do about it."""
