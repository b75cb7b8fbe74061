"""The pruner: removes what was kept long enough, a small batch at a time; while this process leads."""

import structlog
from django.conf import settings

from tasks import lifecycle
from tasks.engine import presence
from tasks.engine.leadership import LEASE, Leadership
from tasks.engine.loop import Loop
from tasks.lifecycle.pruning import FIRST_ID
from tasks.states import Status

log = structlog.get_logger(__name__)

BATCH = 500
#: Between batches, so that a day's backlog of deletions does not push aside what people wait for.
PAUSE_SECONDS = 0.2
#: Between walks over the table.
REST_SECONDS = 60.0


class Pruner(Loop):
    """Walks over old tasks by age, again and again."""

    name = "pruner"

    def __init__(self, leadership: Leadership) -> None:
        super().__init__()
        self._leadership = leadership
        self._position = FIRST_ID
        self._removed = 0

    def step(self) -> float:
        """Look at one batch."""
        term = self._leadership.term
        if term is None:
            return 1.0
        pruned = lifecycle.prune_many(self._position, keep_seconds=keep_seconds(), batch=BATCH, lease=LEASE, term=term)
        expired = lifecycle.prune_keys(batch=BATCH, lease=LEASE, term=term)
        self._removed += pruned.removed
        if pruned.seen == BATCH:
            self._position = pruned.position
            return PAUSE_SECONDS
        self._end_walk(term)
        return PAUSE_SECONDS if expired == BATCH else REST_SECONDS

    def _end_walk(self, term: int) -> None:
        if self._removed:
            log.info("old tasks removed", count=self._removed)
        if settings.KEEP_WORKERS_SECONDS:
            presence.forget_gone(older_than_seconds=settings.KEEP_WORKERS_SECONDS, lease=LEASE, term=term)
        self._position, self._removed = FIRST_ID, 0


def keep_seconds() -> dict[str, float]:
    """How long each final status is kept; a status that is kept for ever is not in it."""
    kept = {
        Status.SUCCEEDED: settings.KEEP_SUCCEEDED_SECONDS,
        Status.CANCELLED: settings.KEEP_CANCELLED_SECONDS,
        Status.DEAD: settings.KEEP_DEAD_SECONDS,
    }
    return {str(status): seconds for status, seconds in kept.items() if seconds}
