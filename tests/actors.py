"""Actors for tests; ``tests.conftest`` imports them, so the process's broker knows them.

``act`` does what its payload says. Declared here and not inside tests, because a broker never forgets an actor.
"""

import asyncio
import logging
import sys
import time
from datetime import date
from typing import Any

import dramatiq
import pydantic
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils.module_loading import import_string

from tasks import current
from tasks.lifecycle import batches
from tasks.retry import RetryPolicy

#: What ``note`` was called with, in order; tests clear it.
noted: list[Any] = []


class Expected(Exception):
    """The exception that ``throws`` names."""


class Unprintable(Exception):
    """Has a text that cannot be read."""

    def __str__(self) -> str:
        raise ValueError("no text for you")


class Rude(BaseException):
    """A BaseException, which ``except Exception`` does not catch."""


class ExitingText(Exception):
    """Exits when its text is read."""

    def __str__(self) -> str:
        raise SystemExit("no text for you")


class ExitingClass(Exception):
    """Exits when its class is asked for."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise SystemExit("no class for you")


class ExitingAttributes(Exception):
    """Raises when any of its attributes is read."""

    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt


class _Nameless(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__qualname__", "__module__"):
            raise SystemExit("no name for you")
        return super().__getattribute__(name)

    def __eq__(cls, other: object) -> bool:
        raise RecursionError

    __hash__ = None  # type: ignore[assignment]


class ExitingName(Exception, metaclass=_Nameless):
    """Exits when the name of its class is read."""


class _Text(str):
    """A text whose methods all exit."""

    def _exit(self, *_: Any, **__: Any) -> Any:
        raise SystemExit

    encode = replace = splitlines = __format__ = __len__ = __getitem__ = _exit


class ExitingMethods(Exception):
    """Has a text whose methods all exit."""

    def __str__(self) -> str:
        return _Text("a text")


class NotJson:
    """A result that JSON cannot represent."""


class ExitingResult(dict[str, Any]):
    """A result that exits when it is read."""

    def _exit(self, *_: Any, **__: Any) -> Any:
        raise SystemExit

    items = __iter__ = __len__ = __bool__ = __eq__ = __repr__ = _exit


class ExitingKind:
    """A result that raises when its class is asked for."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise KeyboardInterrupt


def _raise(error: BaseException) -> Any:
    raise error


def _raise_from(cause: BaseException) -> Any:
    raise RuntimeError("for a reason") from cause


def _nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


#: Everything that ``act`` can do, by name.
DEEDS: dict[str, Any] = {
    "return": lambda value: value,
    "raise": lambda value: _raise(RuntimeError(value or "as asked")),
    "throws": lambda value: _raise(Expected(value or "expected")),
    "retry": lambda value: _raise(dramatiq.Retry("later", delay=value)),
    "exiting text": lambda value: _raise(ExitingText()),
    "exiting class": lambda value: _raise(ExitingClass()),
    "exiting attributes": lambda value: _raise(ExitingAttributes()),
    "exiting name": lambda value: _raise(ExitingName()),
    "exiting methods": lambda value: _raise(ExitingMethods()),
    "exiting cause": lambda value: _raise_from(ExitingAttributes()),
    "return exiting result": lambda value: ExitingResult(a=1),
    "return exiting kind": lambda value: ExitingKind(),
    "return date": lambda value: date(2030, 1, 2),
    "unprintable": lambda value: _raise(Unprintable()),
    "rude": lambda value: _raise(Rude("rude")),
    "stop": lambda value: _raise(StopIteration(value)),
    "keyboard": lambda value: _raise(KeyboardInterrupt()),
    "exit": sys.exit,
    "hostile text": lambda value: _raise(ValueError("nul \0 and surrogate \ud800 <script>")),
    "return object": lambda value: NotJson(),
    "return nan": lambda value: float("nan"),
    "return huge": lambda value: "x" * (value or 1_000_000),
    "return deep": lambda value: _nested(value or 5_000),
    "return nul": lambda value: "nul \0",
    "return bigint": lambda value: 2**70,
    "return keys": lambda value: {1: "a number as a key"},
    "sleep": lambda seconds: _nap(seconds),  # noqa: PLW0108 - defined below
    "snooze": lambda value: current.snooze(seconds=value or 60),
    "attempt": lambda value: current.attempt(),
    "task_id": lambda value: str(current.task_id()),
    "idempotency_key": lambda value: current.idempotency_key(),
    "call": lambda path: import_string(path)(),
    "complete": lambda value: _complete(value),  # noqa: PLW0108 - defined below
    "complete and raise": lambda value: _raise(RuntimeError("too late")) if _complete(value) else None,
    "complete inside": lambda value: _complete_inside(value),  # noqa: PLW0108
}


def _complete(group: str, result: Any = "kept") -> str:
    """Create a group in the transaction that completes the task."""
    with current.complete_in_transaction() as completion:
        Group.objects.create(name=group)
        completion.result = NotJson() if group == "not json" else result
        if group == "raise":
            raise RuntimeError("as asked")
    return "not kept"


def _complete_inside(group: str) -> None:
    with transaction.atomic():
        _complete(group)


def _nap(seconds: float) -> float:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.002)
    return seconds


@dramatiq.actor(throws=Expected)
def act(do: str, value: Any = None) -> Any:
    """Do what ``do`` names in ``DEEDS``."""
    return DEEDS[do](value)


@dramatiq.actor(throws=Expected)
async def act_async(do: str, value: Any = None) -> Any:
    """Do what ``do`` names, in a coroutine."""
    if do == "sleep":
        await asyncio.sleep(value)
        return value
    if do == "call":
        return await import_string(value)()
    await asyncio.sleep(0)
    return DEEDS[do](value)


@dramatiq.actor
async def resist(seconds: float) -> None:
    """Swallow the cancellation and go on."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            continue


@dramatiq.actor
def note(*args: Any, **kwargs: Any) -> None:
    """Note what it was called with; the target of callbacks."""
    noted.append((args, kwargs))


@dramatiq.actor(max_retries=0)
def login(user: str, password: str) -> None:
    """Fail, log the password, and quote it in the error."""
    logging.getLogger(__name__).debug("%s logs in with %s", user, password)
    raise ValueError(f"cannot log in with {password}")


@dramatiq.actor
def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


@dramatiq.actor
def add_through_another(a: int, b: int) -> int:
    """Call another actor's function as a plain function."""
    return add(a, b) + add.fn(a, b)


class Order(pydantic.BaseModel):
    """A payload with a model."""

    number: int
    placed_on: date
    lines: list[str] = []


@dramatiq.actor
def ship(order: Order) -> str:
    """Take a pydantic model."""
    return f"{order.number}/{order.placed_on:%Y}/{len(order.lines)}"


@dramatiq.actor(queue_name="other", default_priority=8)
def elsewhere(x: int = 0) -> int:
    """Run in another queue, by default high."""
    return x


@dramatiq.actor(api=False)
def private() -> None:
    """Closed to the API."""


@dramatiq.actor(max_retries=1, min_backoff=1_000, max_backoff=4_000, time_limit=2_500, max_age=60_000, retry_for=9_000)
def limited(do: str = "raise") -> Any:
    """Set every limit, in Dramatiq's milliseconds."""
    return DEEDS[do](None)


@dramatiq.actor(max_retries=None)
def never_gives_up() -> None:
    """Retry for ever."""
    raise RuntimeError("again")


@dramatiq.actor(retry_when=lambda retries, error: retries < 1 and not isinstance(error, Expected))
def picky(do: str) -> Any:
    """Let a predicate decide about retries."""
    return DEEDS[do](None)


def _broken_predicate(retries: int, error: BaseException) -> bool:
    raise ZeroDivisionError


@dramatiq.actor(retry_when=_broken_predicate)
def undecided() -> None:
    """Have a retry predicate that raises."""
    raise RuntimeError("again")


@dramatiq.actor(max_retries=0, on_success="note", on_failure="note", on_retry_exhausted="note", throws=Expected)
def with_callbacks(do: str, value: Any = None) -> Any:
    """Have every kind of callback."""
    return DEEDS[do](value)


@dramatiq.actor(on_success="no_such_actor", on_failure="no_such_actor", on_retry_exhausted="note")
def calls_back_nobody(do: str = "return", value: Any = "done") -> Any:
    """Have callbacks that do not exist."""
    return DEEDS[do](value)


@dramatiq.actor(store_results=False)
def keeps_nothing(do: str = "return", value: Any = None) -> Any:
    """Store no results."""
    return DEEDS[do](value)


class Exiting(pydantic.BaseModel):
    """A model whose validator exits."""

    value: int

    @pydantic.field_validator("value")
    @classmethod
    def _exit(cls, value: int) -> int:
        if value == 13:
            raise SystemExit("no value for you")
        return value


@dramatiq.actor
def picky_about(exiting: Exiting) -> None:
    """Refuse some results as the next task of a pipeline."""


class _ExitingMeta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        if instance is None:
            # Asked when the actor is declared.
            return False
        raise SystemExit


class ExitingThrows(Exception, metaclass=_ExitingMeta):
    """Exits when an exception is compared with it."""


@dramatiq.actor(throws=ExitingThrows)
def throws_what_exits(do: str = "raise") -> Any:
    """Name an exception in ``throws`` that exits when it is compared."""
    return DEEDS[do](None)


@dramatiq.actor
def list_parents() -> list[list[Any]]:
    """List what the tasks before it returned."""
    found = [[str(one.id), one.status, one.result] for one in current.parents()]
    assert len(current.parents()) == len(found)
    return found


@dramatiq.actor
def tell_batch() -> list[Any]:
    """Return what is known of the batch that calls back."""
    batch_id = current.callback_of()
    return [] if batch_id is None else [str(batch_id), batches.find(batch_id).succeeded]


@dramatiq.actor
async def list_parents_async() -> list[list[Any]]:
    """Do the same in an event loop."""
    return [[str(one.id), one.status, one.result] async for one in current.parents()]


@dramatiq.actor(unique="invoice:{order_id}:{kind}")
def invoice(order_id: Any, kind: str = "paper") -> None:
    """Have a key made of its arguments."""


@dramatiq.actor(
    max_retries=1,
    retry_policies=[
        RetryPolicy(on=(ConnectionError, TimeoutError), delay=60_000, queue="other", priority=2, max_retries=20),
        RetryPolicy(on=LookupError, max_retries=0),
        RetryPolicy(on=OSError, delay=1_000),
    ],
    on_death="note",
)
def patient(do: str, value: Any = None) -> Any:
    """Have retries that depend on the exception, and a callback for the end."""
    return DEEDS[do](value)
