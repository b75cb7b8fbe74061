"""The parents of a running task: what its actor can read of the tasks that it depended on."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple
from uuid import UUID

from asgiref.sync import sync_to_async

from tasks.models import Task
from tasks.states import Status

#: Read at a time: a result has up to ``MAX_RESULT_BYTES``, and a task up to 10,000 parents.
PAGE = 100


class Parent(NamedTuple):
    """A task that the running one depended on."""

    id: UUID
    actor: str
    status: Status
    #: What its actor returned; None unless it SUCCEEDED.
    result: Any
    #: Type and message of its last failure.
    error: str


class Parents:
    """The parents in the order of their submission; each loop reads them anew, 100 at a time, so any number fits.

    A parent that was deleted since it ended is left out. ``for`` and ``len()`` ask the database, so in an ``async def``
    actor use ``async for``.
    """

    def __init__(self, child_id: UUID) -> None:
        self._rows = Task.objects.filter(child_edges__child=child_id).order_by("pk")

    def __len__(self) -> int:
        return self._rows.count()

    def __iter__(self) -> Iterator[Parent]:
        page = self._page(None)
        while page:
            yield from page
            page = self._page(page[-1].id) if len(page) == PAGE else []

    async def __aiter__(self) -> AsyncIterator[Parent]:
        page = await sync_to_async(self._page)(None)
        while page:
            for one in page:
                yield one
            page = await sync_to_async(self._page)(page[-1].id) if len(page) == PAGE else []

    def _page(self, after: UUID | None) -> list[Parent]:
        rows = self._rows if after is None else self._rows.filter(pk__gt=after)
        found = rows.values_list("pk", "actor", "status", "result", "error")[:PAGE]
        return [Parent(id, actor, Status(status), result, error) for id, actor, status, result, error in found]
