"""pause, resume: an operator stops the dispatch of a queue, and starts it again."""

import structlog
from django.db.models.functions import Now

from tasks.errors import NotFound
from tasks.lifecycle.requeue import take_back
from tasks.lifecycle.signals import after_commit, resumed, send_safely
from tasks.models import Queue

log = structlog.get_logger(__name__)


def pause(name: str, *, by: str = "") -> Queue:
    """Stop dispatching a queue, and take back its tasks that no worker has claimed; running tasks go on.

    Pausing a paused queue changes nothing.

    Raises:
        NotFound: no such queue.
    """
    queue = _find(name)
    # The pause comes first, so that no dispatcher dispatches again what is taken back.
    if Queue.objects.filter(pk=queue.pk, paused_at=None).update(paused_at=Now()):
        log.info("queue paused; its tasks wait", queue=name, by=by, taken_back=take_back(name))
    queue.refresh_from_db()
    return queue


def resume(name: str, *, by: str = "") -> Queue:
    """Let a queue be dispatched again, at once.

    Raises:
        NotFound: no such queue.
    """
    queue = _find(name)
    if Queue.objects.filter(pk=queue.pk).exclude(paused_at=None).update(paused_at=None):
        log.info("queue resumed", queue=name, by=by)
        after_commit(lambda: send_safely(resumed, queue=name))
    queue.refresh_from_db()
    return queue


def _find(name: str) -> Queue:
    queue = Queue.objects.filter(pk=name).first()
    if queue is None:
        raise NotFound(f"there is no queue {name!r:.110}")
    return queue
