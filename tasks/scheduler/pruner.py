"""The pruner: removes old rows, a small batch at a time, while this process leads."""

import time
from typing import Any

from tasks import lifecycle
from tasks.conf import conf
from tasks.lifecycle import stats, workers
from tasks.lifecycle.prune import ADMIN_LOG, FIRST_ID, JOURNAL, SESSIONS, History
from tasks.lifecycle.stats import DAY, HOUR, MINUTE, TEN_MINUTES
from tasks.log import get_logger
from tasks.scheduler.leadership import LEASE, Leadership
from tasks.scheduler.loop import Loop
from tasks.states import Status

log = get_logger(__name__)

BATCH = 1_000
#: The rest between batches is this many times as long as a batch took, or a day's backlog of deletions would slow down
#: the tasks that people wait for.
PAUSE_TIMES, LONGEST_PAUSE_SECONDS = 2, 0.2
#: Between two passes over the table.
REST_SECONDS = 60.0

#: Pages show the last hour by minutes and compare it with the one before and the same of yesterday. Longer would cost
#: each look at a day or a week hundreds of rows of each actor.
KEEP_MINUTES_SECONDS, KEEP_TEN_MINUTES_SECONDS = 2 * HOUR + TEN_MINUTES, DAY + 2 * HOUR


class Pruner(Loop):
    """Walks over old tasks by age repeatedly, and removes other old rows in between."""

    name = "pruner"
    # Rows that a crash of PostgreSQL brings back are removed again.
    commits_asynchronously = True

    def __init__(self, leadership: Leadership) -> None:
        super().__init__()
        self._leadership = leadership
        self._position = self._letters = self._batches = FIRST_ID
        self._has_passed = False
        self._removed = 0

    def step(self) -> float:
        """Prune one batch."""
        term = self._leadership.term
        if term is None:
            return 1.0
        began = time.monotonic()
        if self._has_more(term):
            return min(PAUSE_TIMES * (time.monotonic() - began), LONGEST_PAUSE_SECONDS)
        self._has_passed = False
        return REST_SECONDS

    def _has_more(self, term: int) -> bool:
        has_more = not self._has_passed and self._prune_tasks(term)
        expired = lifecycle.prune_keys(batch=BATCH, lease=LEASE, term=term)
        if has_more:
            return True
        if not self._has_passed:
            self._end_pass(term)
        # Not any(): each of them prunes a batch.
        rest = [self._prune_batches(term), self._prune_letters(term), self._prune_histories(term)]
        rest.append(self._fold_stats(term))
        return True in [expired == BATCH, *rest]

    def _prune_tasks(self, term: int) -> bool:
        pruned = lifecycle.prune_many(self._position, keep_seconds=keep_seconds(), batch=BATCH, lease=LEASE, term=term)
        self._removed += pruned.removed
        self._position = pruned.position
        return pruned.seen == BATCH

    def _end_pass(self, term: int) -> None:
        if self._removed:
            log.info("old tasks removed", count=self._removed)
        if conf.KEEP_WORKERS_SECONDS:
            workers.forget_gone(older_than_seconds=conf.KEEP_WORKERS_SECONDS, lease=LEASE, term=term)
        self._position, self._removed, self._has_passed = FIRST_ID, 0, True

    def _prune_batches(self, term: int) -> bool:
        pruned = lifecycle.prune_batches(
            self._batches, keep_seconds=keep_seconds(), batch=BATCH, lease=LEASE, term=term
        )
        has_more = pruned.seen == BATCH
        self._batches = pruned.position if has_more else FIRST_ID
        return has_more

    def _prune_letters(self, term: int) -> bool:
        discarded = 0
        if conf.KEEP_OPEN_DEAD_LETTERS_SECONDS:
            keep = conf.KEEP_OPEN_DEAD_LETTERS_SECONDS
            discarded = lifecycle.discard_old(keep_seconds=keep, batch=BATCH, lease=LEASE, term=term)
            if discarded:
                log.warning("dead letters that nobody resolved were discarded", count=discarded)
        if not conf.KEEP_DEAD_LETTERS_SECONDS:
            return discarded == BATCH
        keep = conf.KEEP_DEAD_LETTERS_SECONDS
        pruned = lifecycle.prune_dead_letters(self._letters, keep_seconds=keep, batch=BATCH, lease=LEASE, term=term)
        has_more = pruned.seen == BATCH
        self._letters = pruned.position if has_more else FIRST_ID
        return has_more or discarded == BATCH

    @staticmethod
    def _prune_histories(term: int) -> bool:
        counts = [
            lifecycle.prune_history(history, keep_seconds=seconds, batch=BATCH, lease=LEASE, term=term)
            for history, seconds in keep_histories().items()
            if seconds
        ]
        has_more = False
        if conf.KEEP_JOURNAL_SECONDS:
            has_more = lifecycle.prune_operations(
                keep_seconds=conf.KEEP_JOURNAL_SECONDS, batch=BATCH, lease=LEASE, term=term
            )
        if conf.KEEP_DEAD_LETTERS_SECONDS:
            seconds = conf.KEEP_DEAD_LETTERS_SECONDS
            counts.append(lifecycle.prune_failures(keep_seconds=seconds, batch=BATCH, lease=LEASE, term=term))
        return has_more or BATCH in counts

    @staticmethod
    def _fold_stats(term: int) -> bool:
        """Move old statistics into those of longer periods, and remove the oldest."""
        bounds: dict[str, Any] = {"batch": BATCH, "lease": LEASE, "term": term}
        counts = [
            stats.fold_stats(span, into=into, keep_seconds=keep, **bounds) for span, into, keep in fold_stats_after()
        ]
        if conf.KEEP_STATS_SECONDS:
            counts.append(stats.forget_stats(DAY, keep_seconds=conf.KEEP_STATS_SECONDS, **bounds))
        return BATCH in counts


def fold_stats_after() -> list[tuple[int, int, float]]:
    """Return which periods of statistics become which longer ones, and after how many seconds."""
    folds = [(MINUTE, TEN_MINUTES, KEEP_MINUTES_SECONDS), (TEN_MINUTES, HOUR, KEEP_TEN_MINUTES_SECONDS)]
    return [*folds, *([(HOUR, DAY, conf.KEEP_HOURLY_STATS_SECONDS)] if conf.KEEP_HOURLY_STATS_SECONDS else [])]


def keep_histories() -> dict[History, float]:
    """Return for how long the rows of each history are kept; 0 = for ever."""
    return {
        JOURNAL: conf.KEEP_JOURNAL_SECONDS,
        ADMIN_LOG: conf.KEEP_ADMIN_LOG_SECONDS,
        SESSIONS: conf.KEEP_EXPIRED_SESSIONS_SECONDS,
    }


def keep_seconds() -> dict[str, float]:
    """Return for how long tasks of each final status are kept; a status that is kept for ever is left out."""
    kept = {
        Status.SUCCEEDED: conf.KEEP_SUCCEEDED_SECONDS,
        Status.CANCELLED: conf.KEEP_CANCELLED_SECONDS,
        Status.DEAD: conf.KEEP_DEAD_SECONDS,
    }
    return {str(status): seconds for status, seconds in kept.items() if seconds}
