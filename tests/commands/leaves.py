"""Every command under ``manage.py callboard``, with words that end quickly and change nothing that matters."""

import argparse
from collections.abc import Iterator
from typing import Any

from tasks.management.commands.callboard import Command
from tasks.models import new_id

#: The words that a command needs; all of them name something that does not exist.
_NEEDS: dict[tuple[str, ...], list[str]] = {
    ("submit",): ["nobody"],
    ("load",): ["--actors", "nobody"],
    ("tasks", "signal"): [str(new_id()), "approved"],
    ("dlq", "redrive"): ["--failure", "0" * 32],
    ("dlq", "failure"): ["0" * 32],
    ("dlq", "snooze"): ["0" * 32, "--wake"],
    ("verify",): ["--url", "http://127.0.0.1:9", "--token", "x"],
    ("demo",): ["nowhere"],
    ("healthcheck",): ["grpc", "--seconds", "1"],
    ("queues", "pause"): ["nowhere"],
    ("queues", "resume"): ["nowhere"],
    **{("schedules", verb): ["nowhere"] for verb in ("show", "pause", "resume", "remove", "run", "preview")},
    ("schedules", "add"): ["nightly", "nobody", "--cron", "@daily"],
    ("schedules", "backfill"): ["nowhere", "--start", "2026-01-01T00:00:00Z", "--end", "2026-01-02T00:00:00Z"],
    ("workers", "start"): ["1", "-Q", "nowhere"],
    ("workers", "status"): ["--name", "nowhere"],
    ("workers", "stop"): ["--name", "nowhere"],
}
#: Commands that print what there is, and so cannot be refused.
PRINT_ALWAYS = {
    ("actors", "list"), ("batches", "list"), ("completion",), ("dlq", "failures"), ("dlq", "list"),
    ("operations", "list"), ("queues", "list"),
    ("schedules", "list"), ("stats",), ("tasks", "list"), ("workers", "list"),
}  # fmt: skip


def leaves() -> list[tuple[str, ...]]:
    """List the commands, as words."""
    return sorted(_below((), Command().create_parser("manage.py", "callboard")))


def in_vain(leaf: tuple[str, ...]) -> list[str]:
    """Give the words that ask a command for something that is not there."""
    return [*leaf, *_NEEDS.get(leaf, [str(new_id())])]


def _below(words: tuple[str, ...], parser: Any) -> Iterator[tuple[str, ...]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield words
    for name, child in groups[0].choices.items() if groups else ():
        yield from _below((*words, name), child)
