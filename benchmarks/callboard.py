"""Callboard as an application uses it: ``send()``, and ``submit_many()`` for many."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from benchmarks.actors import noop  # noqa: E402
from tasks.lifecycle import Submission  # noqa: E402
from tasks.lifecycle import submit_many as submit_all  # noqa: E402

#: The number of tasks in one call.
CHUNK = 1_000
#: Long tasks in the middle of short ones.
LONG, LONG_SECONDS = 12, 10.0


def submit(number: int, *, delay_seconds: float = 0) -> None:
    """Send one message, which commits one row."""
    noop.send_with_options(args=(number,), delay=int(delay_seconds * 1000) or None)


def submit_urgent(number: int) -> None:
    """Send one message of the highest priority."""
    noop.send_with_options(args=(number,), priority=10)


def submit_many(numbers: range, *, chunk: int = CHUNK) -> None:
    """Submit tasks, ``chunk`` of them in a call."""
    for start in range(0, len(numbers), chunk):
        submit_all([Submission(actor="noop", payload={"number": one}) for one in numbers[start : start + chunk]])


def submit_mixed(numbers: range) -> None:
    """Submit short tasks with a few long ones among them, in one call."""
    submissions = [Submission(actor="claimed", payload={"number": one}) for one in numbers]
    middle = len(submissions) // 2
    long = [Submission(actor="hold", payload={"seconds": LONG_SECONDS})] * LONG
    submit_all([*submissions[:middle], *long, *submissions[middle:]])
