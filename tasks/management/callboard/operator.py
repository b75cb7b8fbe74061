"""The operator: the account that runs the command, as audit events name it."""

import getpass
import os

_LONGEST = 150


def name() -> str:
    """Name the operator, for ``by``: ``cli:alice``."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        # The user id of a container may have no account.
        account = str(os.getuid())
    return f"cli:{account}"[:_LONGEST]
