"""The operator: the account that runs the command, as the journal names it."""

import getpass
import os
from argparse import Namespace

from tasks.contract import journal
from tasks.lifecycle import Author
from tasks.management.callboard import parsing
from tasks.models import new_id
from tasks.states import Door

_LONGEST = 150


def name() -> str:
    """Name the operator, for ``by``: ``cli:alice``."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        # The user id of a container may have no account.
        account = str(os.getuid())
    return f"cli:{account}"[:_LONGEST]


def author(options: Namespace, *, of_many: bool = False) -> Author:
    """Name the operator as the author of what a command does, with the reason from its options.

    Raises:
        CommandError: the reason is not one line of at most 200 characters.
    """
    reason = parsing.read("--reason", journal.reason, options.reason)
    return Author(name(), Door.CLI, reason, operation_id=new_id() if of_many else None)
