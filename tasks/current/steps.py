"""Durable steps: a function that runs once in a task's life, and waits that hold no thread.

After a crash, a retry or a wait the actor's function begins anew. Steps that are done return what they returned, sleeps
and waits that are over return at once, so it comes to where it stood.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import transaction

from tasks.conf import conf
from tasks.current.running import claim_name, holder, of_thread
from tasks.errors import NotStorable, Suspended, WaitTimedOut
from tasks.payload import check_json, plain_copy
from tasks.retry import MOST_SECONDS
from tasks.states import StepKind
from tasks.testing import failpoints

P = ParamSpec("P")
R = TypeVar("R")


def step(name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function once in the task's life, and return its result in this and every later attempt.

    A function that raises is called again by the next attempt. So is one whose worker is killed between its end and
    the commit of its result: give services the task's ``idempotency_key()``. Inside a transaction of the actor's the
    result commits with it, so writes to the default database happen exactly once.

    Parameters:
        name: 1 to 100 characters; each step of a run needs its own. A later release must not change it.
        function: returns JSON of at most ``MAX_STEP_RESULT_BYTES``.

    Raises:
        DuplicateName: this run has had a step of that name.
        NotStorable: the name or the result cannot be kept.
        AttemptLost: the task was given to another worker.
    """
    found, kept = _begin(name)
    return kept if found else _finish(name, function(*args, **kwargs))


async def astep(name: str, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
    """Await a coroutine function once in the task's life: ``step`` for ``async def`` actors."""
    found, kept = await sync_to_async(_begin)(name)
    if found:
        return kept  # type: ignore[no-any-return]
    return await sync_to_async(_finish)(name, await function(*args, **kwargs))


def sleep(*, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, name: str = "sleep") -> None:
    """Let the task go on after a time; meanwhile it holds no thread and its attempt has ended, without a failure.

    Parameters:
        name: tells the sleeps of an actor apart.

    Raises:
        Suspended: while the time is not over; do not catch it.
        RuntimeError: it is called inside a transaction, which would be rolled back.
        DuplicateName: this run has had a sleep of that name.
        AttemptLost: the task was given to another worker.
    """
    claim_name("sleep", name)
    given = _seconds(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds))
    with _durable():
        left = _seconds_left(StepKind.SLEEP, name, given)
    if left is not None and left > 0:
        raise Suspended(left)


def wait_for(name: str, *, timeout: float | timedelta | None = None) -> Any:
    """Return the payload of a signal; until it comes, the task holds no thread and its attempt has ended.

    Parameters:
        name: of the signal, 1 to 100 characters. The first signal of that name counts, also one that came before.
        timeout: in seconds from the first time that the task waits; by default it waits for ever.

    Raises:
        WaitTimedOut: the signal did not come in time. Later ones are refused, so later attempts come here as well.
        Suspended: while the task waits; do not catch it.
        RuntimeError: it is called inside a transaction, which would be rolled back.
        DuplicateName: this run has waited for that signal.
        AttemptLost: the task was given to another worker.
    """
    from tasks.lifecycle import steps

    claim_name("wait", name)
    holds = holder()
    wanted = None
    if timeout is not None:
        wanted = _seconds(timeout if isinstance(timeout, timedelta) else timedelta(seconds=timeout))
    # In this order: a signal that comes after the look is found when the attempt ends.
    with _durable():
        left = _seconds_left(StepKind.WAIT, name, wanted)
    found = steps.find(holds.task_id, StepKind.SIGNAL, name)
    if found is None and left is not None and left <= 0:
        # If a signal comes at the same time, the first row decides.
        steps.keep(holds, StepKind.SIGNAL, name, is_timeout=True)
        found = steps.find(holds.task_id, StepKind.SIGNAL, name)
    if found is None:
        raise Suspended(MOST_SECONDS if left is None else left, signal=name)
    if found.is_timeout:
        raise WaitTimedOut(f"the signal {name} did not come in time")
    return found.result


asleep = sync_to_async(sleep)
await_for = sync_to_async(wait_for)


def _begin(name: str) -> tuple[bool, Any]:
    """Claim the name of a step; return whether it is done, and its result."""
    from tasks.lifecycle import steps

    claim_name("step", name)
    # There is no row before the first attempt has ended.
    found = None if of_thread().run.claimed.attempt == 1 else steps.find(holder().task_id, StepKind.STEP, name)
    return found is not None, found and found.result


def _finish(name: str, result: R) -> R:
    from tasks.lifecycle import steps

    faults = check_json(result, field="result", max_bytes=conf.MAX_STEP_RESULT_BYTES, max_depth=conf.MAX_JSON_DEPTH)
    if faults:
        raise NotStorable(f"the result of step {name}: {faults[0].field}: {faults[0].message}", errors=faults)
    failpoints.reach("before_step")
    # The copy that later attempts get, such as a list in place of a tuple.
    kept: R = plain_copy(result)
    steps.keep(holder(), StepKind.STEP, name, result=kept)
    return kept


def _durable() -> AbstractContextManager[None]:
    """Refuse a transaction of the actor's: the end of the attempt would roll the begin of its wait back, for ever."""
    return transaction.atomic(durable=True)


def _seconds_left(kind: StepKind, name: str, seconds: float | None) -> float | None:
    """Begin a sleep or wait, unless an attempt before did; return the seconds until it ends, None if it does not."""
    from tasks.lifecycle import steps

    holds = holder()
    found = steps.find(holds.task_id, kind, name)
    if found is not None:
        return found.seconds_left
    steps.keep(holds, kind, name, seconds=seconds)
    return seconds


def _seconds(given: timedelta) -> float:
    seconds = given.total_seconds()
    if seconds < 0:
        raise ValueError(f"expected a time of at least 0 seconds, got {seconds}")
    return min(seconds, MOST_SECONDS)
