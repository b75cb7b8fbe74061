"""Checkpoints: what a task keeps from one attempt to the next, and loops that go on where the last attempt stood."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from asgiref.sync import sync_to_async
from django.db import transaction

from tasks.conf import conf
from tasks.current.block import Block
from tasks.current.running import claim_name, holder, of_thread
from tasks.errors import NotStorable
from tasks.payload import check_json

T = TypeVar("T")
Cursor = int | float | str


def checkpoint(data: Any) -> None:
    """Keep ``data`` for the next attempt, in place of what was kept before.

    It is written at once; inside a transaction of the actor's it commits with it. In an ``async def`` actor it is
    ``await current.acheckpoint(data)``.

    Parameters:
        data: JSON of at most ``MAX_CHECKPOINT_BYTES``.

    Raises:
        NotStorable: it is no JSON, or too large.
        AttemptLost: the task was given to another worker.
    """
    of_thread()
    _check(data, field="checkpoint")
    _save(["data"], data)


def last_checkpoint() -> Any:
    """Return what the last ``checkpoint()`` of the task kept, in any of its attempts; None if there is none.

    Raises:
        AttemptLost: the task was given to another worker.
    """
    return _load(["data"])


acheckpoint = sync_to_async(checkpoint)
alast_checkpoint = sync_to_async(last_checkpoint)


def each(
    items: Iterable[T] | Callable[[Any], Iterable[T]], *, key: Callable[[T], Cursor] | None = None, name: str = "each"
) -> "Each[T]":
    """Loop over items, and go on after the last item that is done when the task runs again.

    An item is done when the next one is asked for: after a crash in between it comes once more. With
    ``loop.transaction()`` the item's own writes commit with the fact that it is done, so they happen exactly once::

        rows = current.each(read_rows(path), key=lambda row: row["number"])
        for row in rows:
            with rows.transaction():
                Customer.objects.create(**row)

    In an ``async def`` actor it is ``async for`` and ``async with``; ``items`` may be asynchronous too.

    Parameters:
        items: the same in each attempt, in the same order; or a function that returns those after a cursor, which is
            None at first.
        key: names an item by a number or a text; they ascend. By default items are counted, so that none may be added
            or removed before the cursor.
        name: tells the loops of an actor apart.

    Raises:
        DuplicateName: another loop of this run has the name.
        AttemptLost: the task was given to another worker.
        ValueError: the keys do not ascend.
    """
    of_thread()
    return Each(items, key=key, name=name)


class Each(Generic[T]):
    """A loop that keeps its cursor; see ``each``."""

    def __init__(self, items: Any, *, key: Callable[[T], Cursor] | None, name: str) -> None:
        self._items, self._key, self._name = items, key, name
        self._resumed: Any = None
        self._cursor: Any = None
        self._seen: Any = None
        self._count = 0
        self._is_saved = True

    def __iter__(self) -> Iterator[T]:
        for item in self._begin():
            if self._is_next(item):
                yield item
                self._save_late()

    async def __aiter__(self) -> AsyncIterator[T]:
        async for item in _asynchronous(await sync_to_async(self._begin)()):
            if self._is_next(item):
                yield item
                if not self._is_saved:
                    await sync_to_async(self._save)()

    def transaction(self) -> Block[None]:
        """Open a transaction in which the item's own writes commit with the fact that it is done."""
        return Block(self._transaction())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with transaction.atomic():
            yield
            _save(["cursors", self._name], self._cursor)
        self._is_saved = True

    def _begin(self) -> Any:
        claim_name("loop", self._name)
        self._resumed = _load(["cursors", self._name])
        if not callable(self._items):
            return self._items
        self._count = self._resumed if self._key is None and self._resumed is not None else 0
        return self._items(self._resumed)

    def _is_next(self, item: T) -> bool:
        """Move the cursor to an item; return False if it is done."""
        self._count += 1
        cursor = self._count if self._key is None else self._checked(self._key(item))
        if self._resumed is not None and cursor <= self._resumed:
            return False
        self._cursor, self._is_saved = cursor, False
        return True

    def _checked(self, cursor: Any) -> Any:
        if not isinstance(cursor, int | float | str):
            raise NotStorable(f"expected a number or a text as the key of an item, got {type(cursor).__name__}")
        _check(cursor, field="key")
        if self._seen is not None and not cursor > self._seen:
            raise ValueError(f"expected ascending keys of items, got {cursor!r} after {self._seen!r}")
        self._seen = cursor
        return cursor

    def _save_late(self) -> None:
        if not self._is_saved:
            self._save()

    def _save(self) -> None:
        _save(["cursors", self._name], self._cursor)
        self._is_saved = True


# django-dramatiq loads this before Django has models, hence the late imports.


def _save(path: list[str], value: Any) -> None:
    from tasks.lifecycle import checkpoint as stored

    stored.save(holder(), path, value)


def _load(path: list[str]) -> Any:
    from tasks.lifecycle import checkpoint as stored

    return stored.load(holder(), path)


def _check(value: Any, *, field: str) -> None:
    faults = check_json(value, field=field, max_bytes=conf.MAX_CHECKPOINT_BYTES, max_depth=conf.MAX_JSON_DEPTH)
    if faults:
        raise NotStorable(f"{faults[0].field}: {faults[0].message}", errors=faults)


async def _asynchronous(items: Any) -> AsyncIterator[Any]:
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
