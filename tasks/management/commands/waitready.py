"""``manage.py waitready``: wait for the database and its migrations."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from scheduler_site.waiting import wait_until_ready
from tasks.conf import conf


class Command(BaseCommand):
    """Returns when the database answers and is migrated; exits with 1 and one line if that takes too long."""

    help = (
        "Wait until the database answers and all migrations are applied; say once a second what is missing. "
        "Every process waits by itself when it starts; this command is for scripts."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the options."""
        parser.add_argument(
            "--seconds", type=float, default=conf.WAIT_SECONDS, help="the longest wait (default: WAIT_SECONDS, 60)"
        )

    def handle(self, *, seconds: float, **_: Any) -> None:
        """Wait."""
        wait_until_ready(seconds)
