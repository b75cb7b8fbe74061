"""``manage.py callboard``: the operators' command line."""

import logging
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from tasks import __version__
from tasks.errors import CallboardError, InvalidQuery, describe
from tasks.management.callboard import (
    actors,
    batches,
    completion,
    demo,
    dlq,
    healthcheck,
    load,
    operations,
    parsing,
    queues,
    schedules,
    stats,
    submit,
    tasks,
    verify,
    workers,
)
from tasks.management.callboard.exit_codes import INTERRUPTED, USAGE
from tasks.management.callboard.output import Output

MOST_ERRORS = 3


class Command(BaseCommand):
    """Looks at tasks, queues and workers, and acts on them."""

    help = (
        "Look at tasks, batches, dead letters, operations, schedules, queues and workers, and act on them. Tables on "
        "a terminal, plain lines in a pipe, JSON with --json. `manage.py callboard NOUN COMMAND --help` has examples."
    )
    # The checks are about starting servers; `verify` even works without a database.
    requires_system_checks = []

    def get_version(self) -> str:
        """Give the version of Callboard, not of Django."""
        return __version__

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the commands."""
        commands = parsing.add_nouns(parser)
        for module in (
            submit,
            actors,
            tasks,
            batches,
            dlq,
            operations,
            schedules,
            queues,
            workers,
            stats,
            load,
            demo,
            healthcheck,
            verify,
            completion,
        ):
            module.register(commands)

    def handle(self, *, run: Any, is_json: bool, no_color: bool, **options: Any) -> None:
        """Run the command; print an error as one line."""
        # Log lines of submissions and cancels would mix with the output.
        logging.getLogger().setLevel(max(logging.getLogger().level, logging.WARNING))
        out = Output.to(self.stdout, self.stderr, is_json=is_json, no_color=no_color)
        with _one_line_errors():
            run(Namespace(**options), out)
            self.stdout.flush()


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except ImproperlyConfigured:
        # Such as a missing DATABASE_URL; manage.py prints what to do.
        raise
    except InvalidQuery as error:
        raise CommandError(_described(error), returncode=USAGE) from error
    except CallboardError as error:
        raise CommandError(_described(error)) from error
    except DatabaseError as error:
        first_line, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise CommandError(f"the database does not answer as it should: {first_line}") from error
    except KeyboardInterrupt as error:
        raise CommandError("stopped", returncode=INTERRUPTED) from error


def _described(error: CallboardError) -> str:
    """Describe the first errors only: a thousand tasks may all have the same one."""
    more = len(error.errors) - MOST_ERRORS
    return (describe(error.errors[:MOST_ERRORS]) or error.detail) + (f"; and {more} more" if more > 0 else "")
