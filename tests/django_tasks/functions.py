"""Functions for tests of the backend; declared once, as in the ``tasks.py`` of an app."""

import asyncio
import time
from datetime import date
from typing import Any

from tasks import current
from tasks.django_tasks import actor_options
from tests.django_tasks.framework import task


class Outer:
    """Has an exception of its own."""

    class Boom(Exception):
        """Has a name with a dot."""


class Custom(Exception):
    """Is no built-in exception."""


class Several(ExceptionGroup[Exception]):
    """Is no built-in group of exceptions."""


@task()
def noop(*args: tuple[int], **kwargs: dict[str, int]) -> None:
    """Do nothing; its annotations are wrong, as they often are."""


@task
def bare() -> None:
    """Is declared without parentheses."""


@task()
async def noop_async(*args: Any, **kwargs: Any) -> None:
    """Do nothing in a coroutine."""


@task
def answer() -> int:
    return 42


@task
async def answer_async() -> int:
    await asyncio.sleep(0)
    return 42


@task
def give_back(a: str, /, b: date, *, c: Any = None) -> Any:
    """Return what came, whatever the annotations say."""
    return {"a": a, "b": b, "c": c}


@task
@actor_options(strict=True)
def convert(day: date, times: int = 1) -> list[Any]:
    """Take what the annotations say."""
    return [type(day).__name__, day.year, times]


@task
@actor_options(max_retries=0)
def fail(path: str = "") -> None:
    """Raise an exception."""
    kinds: dict[str, Any] = {
        "custom": Custom("a\nbuiltins.SystemExit: b"),
        "nested": Outer.Boom(),
        "exit": SystemExit(3),
    }
    raise kinds.get(path) or ValueError("this task is meant to fail")


@task
@actor_options(max_retries=2, min_backoff=1, max_backoff=1, time_limit=60_000)
def fail_twice() -> int:
    """Fail in its first two attempts."""
    if current.attempt() < 3:
        raise Custom(f"attempt {current.attempt()}")
    return current.attempt()


@task
def return_unsupported() -> Any:
    """Return something that is not JSON."""
    return lambda: True


@task
def return_mapping() -> Any:
    """Return what becomes JSON in Django's way."""
    return {"tuple": (1, 2), "bytes": b"text"}


@task(takes_context=True)
def attempt_of(context: Any) -> list[Any]:
    """Return what its context tells."""
    result = context.task_result
    return [context.attempt, result.id, str(result.status), result.task.priority, len(result.worker_ids)]


@task(takes_context=True)
async def repeat(context: Any, text: str, *, times: int = 2) -> str:
    """Take a context and arguments, in a coroutine."""
    return f"{text * times}{context.attempt}"


@task(takes_context=True)
@actor_options(max_retries=1, min_backoff=1, max_backoff=1)
def tell_errors(context: Any) -> list[Any]:
    """Return what the second attempt knows of the first."""
    if context.attempt == 1:
        raise Custom("first")
    return [context.attempt, [error.exception_class.__name__ for error in context.task_result.errors]]


@task
@actor_options(min_backoff=1, max_backoff=1)
def snooze_once() -> None:
    """Run twice, and fail never."""
    if current.attempt() == 1:
        current.snooze(seconds=0)


@task
@actor_options(api=True, max_retries=7, throws=Custom)
def open_to_api(name: str) -> None:
    """Be submitted by the API."""


@task
def nap(seconds: float) -> None:
    """Sleep in naps, so that it can be interrupted."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.002)


@task
def commit_itself() -> str:
    """Commit its own success, with its result."""
    with current.complete_in_transaction() as completion:
        completion.result = "kept"
    return "not kept"
