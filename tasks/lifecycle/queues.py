"""pause, resume: an operator stops the dispatch of a queue, and starts it again."""

from django.db import transaction

from tasks.db.statements import fetch
from tasks.errors import NotFound
from tasks.lifecycle.announcements import after_commit, resumed, send_safely
from tasks.lifecycle.journal import UNKNOWN, Author, entries
from tasks.lifecycle.requeue import take_back
from tasks.log import get_logger
from tasks.models import Queue

log = get_logger(__name__)

_PAUSE = f"""
WITH paused AS (
    UPDATE callboard_queue SET paused_at = statement_timestamp() WHERE name = %(name)s AND paused_at IS NULL
    RETURNING name
)
{entries("paused", verb="'pause'", kind="'queue'", id="name", queue="name")}
RETURNING id
"""
_RESUME = f"""
WITH resumed AS (
    UPDATE callboard_queue SET paused_at = NULL WHERE name = %(name)s AND paused_at IS NOT NULL RETURNING name
)
{entries("resumed", verb="'resume'", kind="'queue'", id="name", queue="name")}
RETURNING id
"""


@transaction.atomic
def pause(name: str, *, by: Author = UNKNOWN) -> Queue:
    """Stop dispatching a queue, and take back its tasks that no worker has claimed; running tasks go on.

    Pausing a paused queue changes nothing.

    Raises:
        NotFound: no such queue.
    """
    queue = _find(name)
    # The pause comes first, so that nothing that is taken back is dispatched again: dispatchers skip a locked queue.
    if fetch(_PAUSE, {"name": name, **by.parameters}):
        log.info("queue paused; its tasks wait", queue=name, by=by.name, taken_back=take_back(name))
    queue.refresh_from_db()
    return queue


def resume(name: str, *, by: Author = UNKNOWN) -> Queue:
    """Let a queue be dispatched again, at once.

    Raises:
        NotFound: no such queue.
    """
    queue = _find(name)
    if fetch(_RESUME, {"name": name, **by.parameters}):
        log.info("queue resumed", queue=name, by=by.name)
        after_commit(lambda: send_safely(resumed, queue=name))
    queue.refresh_from_db()
    return queue


def _find(name: str) -> Queue:
    queue = Queue.objects.filter(pk=name).first()
    if queue is None:
        raise NotFound(f"there is no queue {name!r:.110}")
    return queue
