"""``broker.flush()``: cancels the tasks of a queue that wait, as Dramatiq drops their messages."""

from tasks import lifecycle
from tasks.lifecycle import Author
from tasks.models import Task
from tasks.states import WAITING

#: Tasks in one statement.
BATCH = 1_000
_BY = Author(reason="broker.flush()")


def flush(queue: str) -> None:
    """Cancel the tasks of the queue that wait now. What runs goes on, but one that starts meanwhile is asked to end."""
    waiting = Task.objects.in_queue(queue).filter(status__in=WAITING).order_by("id").values_list("id", flat=True)
    newest = waiting.last()
    while newest is not None and (ids := list(waiting.filter(id__lte=newest)[:BATCH])):
        lifecycle.cancel_many(ids, by=_BY)
