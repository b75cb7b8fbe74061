"""Callboard as an application uses it: ``send()``, and ``submit_many()`` for many."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from benchmarks.actors import noop  # noqa: E402
from tasks.lifecycle import Submission  # noqa: E402
from tasks.lifecycle import submit_many as submit_all  # noqa: E402

#: In one call.
CHUNK = 1_000


def submit(number: int, *, delay_seconds: float = 0) -> None:
    """Send one message: one row, committed."""
    noop.send_with_options(args=(number,), delay=int(delay_seconds * 1000) or None)


def submit_many(numbers: range) -> None:
    """Submit tasks, a thousand in one call."""
    for start in range(0, len(numbers), CHUNK):
        submit_all([Submission(actor="noop", payload={"number": one}) for one in numbers[start : start + CHUNK]])
