"""The operation runner: does the steps of operations, and adds up the counts of failures, while this process leads."""

import time
from uuid import UUID

from django.db import OperationalError

from tasks import lifecycle
from tasks.lifecycle.failures import MOST_DELTAS
from tasks.log import get_logger
from tasks.scheduler.leadership import LEASE, Leadership
from tasks.scheduler.loop import Loop

log = get_logger(__name__)

#: While nothing is to be done.
POLL_SECONDS = 1.0
#: While an operation goes at a rate: a rate of four per second or less does one row at a time.
PACE_SECONDS = 0.25
#: Between two comparisons of the counts of failures with their dead letters.
RECOUNT_SECONDS = 600.0


class OperationRunner(Loop):
    """One thread of one process: the counts must not be added up side by side."""

    name = "operations"

    def __init__(self, leadership: Leadership) -> None:
        super().__init__()
        self._leadership = leadership
        self._recounted_at: float | None = None

    def step(self) -> float:
        """Add up the newest deaths, and do a step of each open operation."""
        term = self._leadership.term
        if term is None:
            return POLL_SECONDS
        has_news = lifecycle.fold_failures(lease=LEASE, term=term) == MOST_DELTAS
        self._recount(term)
        operations = lifecycle.open_operations()
        has_more = [self._guarded(id, term) for id in operations]
        if has_news or any(has_more):
            return 0
        return PACE_SECONDS if operations else POLL_SECONDS

    @staticmethod
    def _guarded(operation_id: UUID, term: int) -> bool:
        """Do a step; one that fails is counted, and keeps no other operation waiting."""
        try:
            return lifecycle.step_operation(operation_id, lease=LEASE, term=term).has_more
        except OperationalError:
            # The database is away, or a lock took too long: that says nothing about the operation.
            raise
        except Exception as error:
            log.exception("a step of an operation failed; it is done again", operation_id=str(operation_id))
            lifecycle.note_error(operation_id, f"{type(error).__name__}: {error}")
            return False

    def _recount(self, term: int) -> None:
        if self._recounted_at is not None and time.monotonic() - self._recounted_at < RECOUNT_SECONDS:
            return
        if wrong := lifecycle.recount_failures(lease=LEASE, term=term):
            log.info("counts of failures were set right; another release wrote dead letters", count=wrong)
        self._recounted_at = time.monotonic()
