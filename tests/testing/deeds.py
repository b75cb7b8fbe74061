"""What actors of these tests do: ``act.send("call", "tests.testing.deeds.…")``."""

import asyncio
import time
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction

from tasks import current
from tasks.testing import drain
from tests.actors import act, add, note, noted

HERE = __name__


def path(function: Any) -> str:
    """Name a function as ``act`` takes it."""
    return f"{HERE}.{function.__name__}"


def groups() -> list[str]:
    """Name the groups that a test or its actors have made."""
    return list(Group.objects.exclude(name__in=["viewer", "operator", "admin"]).values_list("name", flat=True))


def submit_two() -> str:
    add.send(1, 2)
    note.send("second")
    # Neither has run: an actor of production does not wait for what it submits.
    return f"{len(noted)} noted"


def submit_itself() -> None:
    act.send("call", path(submit_itself))


def fail_twice() -> str:
    noted.append(current.attempt())
    if current.attempt() < 3:
        raise RuntimeError(f"attempt {current.attempt()}")
    return "at last"


def break_the_transaction() -> None:
    Group.objects.create(name="lost")
    Group.objects.create(name="lost")


def survive_an_integrity_error() -> int:
    Group.objects.create(name="kept")
    try:
        with transaction.atomic():
            Group.objects.create(name="kept")
    except IntegrityError:
        pass
    return len(groups())


def write_and_fail() -> None:
    Group.objects.create(name="written")
    raise RuntimeError("after a write")


def on_commit() -> None:
    with transaction.atomic():
        Group.objects.create(name="first")
        transaction.on_commit(lambda: noted.append("committed"))


def hook_and_break() -> None:
    transaction.on_commit(lambda: noted.append("committed"))
    break_the_transaction()


def failing_hook() -> None:
    def fail() -> None:
        raise RuntimeError("in a hook")

    transaction.on_commit(fail)


def complete() -> None:
    with current.complete_in_transaction() as completion:
        completion.result = Group.objects.create(name="durable").name


def drain_inside() -> None:
    drain()


def leave_open() -> None:
    transaction.atomic().__enter__()
    Group.objects.create(name="left open")


def busy_for_long() -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        time.sleep(0.002)


async def create_group() -> list[str]:
    await Group.objects.acreate(name="async")
    return await sync_to_async(groups)()


async def sleep_for_long() -> None:
    await asyncio.sleep(20)


def bell() -> None:
    noted.append(time.monotonic())
