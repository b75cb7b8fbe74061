"""A block that both ``with`` and ``async with`` open."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic, TypeVar

from asgiref.sync import sync_to_async

T = TypeVar("T")


class Block(Generic[T]):
    """A context manager that reaches the database; a coroutine enters and leaves it in the thread of its queries."""

    def __init__(self, block: AbstractContextManager[T]) -> None:
        self._block = block

    def __enter__(self) -> T:
        return self._block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._block.__exit__(kind, error, traceback)

    async def __aenter__(self) -> T:
        return await sync_to_async(self._block.__enter__)()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await sync_to_async(self._block.__exit__)(kind, error, traceback)
