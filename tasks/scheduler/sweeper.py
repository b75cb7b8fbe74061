"""The sweeper: moves on the tasks of owners that are gone. The leader's term fences every one of its writes."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from math import inf
from uuid import UUID

from django.db import Error as DatabaseProblem
from django.db import close_old_connections

from tasks import lifecycle
from tasks.broker.sources.base import Source
from tasks.conf import conf
from tasks.db.clock import Clock
from tasks.errors import BrokerUnavailable
from tasks.hint import Hint
from tasks.lifecycle import Author, workers
from tasks.lifecycle.rescue import BATCH
from tasks.log import get_logger
from tasks.scheduler.leadership import LEASE, Leadership
from tasks.scheduler.loop import Loop
from tasks.states import Door

log = get_logger(__name__)

#: How often the leftovers of dead processes are removed from the broker.
CLEANING_SECONDS = 60.0
#: A new leader checks younger hints too: its predecessor may have died between commit and publish.
FIRST_GRACE_SECONDS = 1.0

#: After workers could not write: each tries a heartbeat twice a second, before a worker counts as silent.
REOPENING_SECONDS = 2.0

#: Checked in one sweep.
MOST_QUEUED = 5_000

_BEGINNING = (datetime(2000, 1, 1, tzinfo=UTC), UUID(int=0))
_SWEEPER = Author(door=Door.SCHEDULER, reason="its stuck tasks were taken from it")


class Sweeper(Loop):
    """Handles silent workers and their tasks, stuck tasks, lost hints and expired tasks while this process leads."""

    name = "sweeper"

    def __init__(self, leadership: Leadership, source: Source) -> None:
        super().__init__()
        self._leadership = leadership
        self._source = source
        self._term: int | None = None
        self._cleaned_at = time.monotonic()
        self._closed_at = -inf
        self._reached = _BEGINNING
        self._clock = Clock()

    def step(self) -> float:
        """Do one sweep."""
        term = self._leadership.term
        if term is None:
            return conf.SWEEP_INTERVAL_SECONDS
        grace = conf.HINT_GRACE_SECONDS if term == self._term else FIRST_GRACE_SECONDS
        self._do(self._look_at_clock, term)
        self._do(self._look_at_tables, term)
        # Workers that could not write are not to blame: they get time for a heartbeat first.
        had_time = self._had_time_for_heartbeats
        if had_time:
            self._do(self._declare_silent_gone, term)
        moved = self._do(self._rescue_lost, term) + self._do(self._expire, term)
        if had_time:
            moved += self._do(self._rescue_stuck, term)
        self._do(partial(self._requeue_lost, grace=grace), term)
        self._do(self._remove_leftovers, term)
        self._term = term
        # A full batch means that there is more.
        return 0 if moved >= BATCH else conf.SWEEP_INTERVAL_SECONDS

    def _do(self, duty: Callable[[int], int], term: int) -> int:
        """Do one duty; when it fails on a row or on the broker, the other duties are still done."""
        name = getattr(duty, "__name__", "requeue")
        try:
            return duty(term)
        except (DatabaseProblem, BrokerUnavailable) as error:
            log.warning("a duty failed; trying again", duty=name, error=str(error).strip())
        except Exception:
            log.exception("a duty failed; trying again", duty=name)
        close_old_connections()
        return 0

    @property
    def _had_time_for_heartbeats(self) -> bool:
        """Whether live workers had time for a heartbeat since they could not write, or the clock stepped."""
        needed = conf.HEARTBEAT_INTERVAL_SECONDS + REOPENING_SECONDS
        is_open = time.monotonic() - self._closed_at > needed
        return is_open and self._leadership.has_settled and self._clock.has_settled

    def _look_at_tables(self, term: int) -> int:  # noqa: ARG002 - a duty like the others
        """Note when tables are locked: no worker is declared gone for a lease that it could not renew."""
        # An error here counts as locked: it may keep workers from writing too.
        closed_before, self._closed_at = self._closed_at, time.monotonic()
        if workers.are_tables_open():
            self._closed_at = closed_before
        return 0

    def _look_at_clock(self, term: int) -> int:
        self._clock.look()
        return workers.shorten_leases(lease=LEASE, term=term)

    def _declare_silent_gone(self, term: int) -> int:
        gone = workers.declare_silent_gone(lease=LEASE, term=term, until=self._clock.now)
        for worker_id in gone:
            log.warning("worker is silent past its lease; its tasks go to others", worker_id=str(worker_id))
        return len(gone)

    def _rescue_lost(self, term: int) -> int:
        moves = lifecycle.rescue_lost(lease=LEASE, term=term)
        if moves:
            log.warning("tasks of lost workers were rescued", count=len(moves))
        return len(moves)

    def _rescue_stuck(self, term: int) -> int:
        clock = self._clock
        moves, holders = lifecycle.rescue_stuck(
            lease=LEASE, term=term, until=clock.now, stepped_at=clock.forward.at, stepped_by=clock.forward.seconds
        )
        if holders:
            workers.ask_to_drain(list(holders), by=_SWEEPER)
            log.warning("stuck tasks were taken from workers that now end", count=len(moves), workers=len(holders))
        return len(moves)

    def _expire(self, term: int) -> int:
        return len(lifecycle.expire_many(lease=LEASE, term=term))

    def _requeue_lost(self, term: int, *, grace: float) -> int:
        """Check tasks that have been QUEUED for long, a batch in each sweep, from where the last one ended."""
        found = lifecycle.queued_long(grace, after=self._reached, most=MOST_QUEUED)
        self._reached = (found[-1].queued_at, found[-1].hint.task_id) if len(found) == MOST_QUEUED else _BEGINNING
        waiting: dict[str, list[Hint]] = {}
        for one in found:
            waiting.setdefault(one.queue, []).append(one.hint)
        total = 0
        for name, hints in waiting.items():
            count = lifecycle.requeue_many(self._source.missing(name, hints), lease=LEASE, term=term)
            total += count
            if count:
                log.warning("hints were lost; their tasks are dispatched again", queue=name, count=count)
        return total

    def _remove_leftovers(self, term: int) -> int:  # noqa: ARG002 - a duty like the others
        if time.monotonic() - self._cleaned_at >= CLEANING_SECONDS:
            self._cleaned_at = time.monotonic()
            self._source.remove_leftovers(workers.present_ids())
        return 0
