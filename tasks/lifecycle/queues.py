"""pause, resume: what an operator does to a queue. Every door calls these."""

import structlog
from django.db.models.functions import Now

from tasks import lifecycle
from tasks.errors import NotFound
from tasks.lifecycle.signals import after_commit, resumed, send_safely
from tasks.models import Queue

log = structlog.get_logger(__name__)


def pause(name: str, *, by: str = "") -> Queue:
    """Hand over nothing more of a queue, and take back what no worker has claimed; what runs goes on.

    A queue that is paused stays so since when it was.

    Raises:
        NotFound: no such queue.
    """
    queue = _find(name)
    # First the pause, so that nobody hands over again what is taken back.
    if Queue.objects.filter(pk=queue.pk, paused_at=None).update(paused_at=Now()):
        log.info("queue paused; its tasks wait", queue=name, by=by, taken_back=lifecycle.take_back(name))
    queue.refresh_from_db()
    return queue


def resume(name: str, *, by: str = "") -> Queue:
    """Hand over a queue's tasks again, at once.

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
