"""Callboard's client in a benchmark: submits in bulk, as an application with many tasks would."""

import os

import django


def enqueue(count: int) -> None:
    """Submit ``count`` tasks, 1,000 in one call."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
    django.setup()
    from tasks.lifecycle import Submission, submit_many

    numbers = range(count)
    for start in numbers[::1000]:
        submit_many([Submission(actor="noop", payload={"number": n}) for n in numbers[start : start + 1000]])
