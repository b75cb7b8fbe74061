"""The database's clock, watched for steps: a correction moves it, or a fail-over to a server with another clock."""

import time
from datetime import UTC, datetime
from typing import NamedTuple

from tasks.conf import conf
from tasks.db.statements import fetch
from tasks.log import get_logger

log = get_logger(__name__)

#: How far two clocks may drift apart between two looks; a smaller step does no harm.
TOLERANCE_SECONDS = 1.0

_NOW = "SELECT statement_timestamp()"


class Step(NamedTuple):
    """A step forward: anything that began before ``at`` seems ``seconds`` older than it is."""

    at: datetime
    seconds: float


NO_STEP = Step(datetime(2000, 1, 1, tzinfo=UTC), 0.0)


class Clock:
    """Compares the database's clock with this process's own, which never steps."""

    def __init__(self) -> None:
        self.now: datetime | None = None
        #: The last step forward, with the seconds of all earlier ones.
        self.forward = NO_STEP
        self._looked: tuple[float, float] = (0.0, 0.0)
        self._settles_at = 0.0

    @property
    def has_settled(self) -> bool:
        """Whether all workers had time for a heartbeat since the last step."""
        return time.monotonic() > self._settles_at

    def look(self) -> bool:
        """Read the clock, and tell whether it has stepped since the last look."""
        asked = time.monotonic()
        ((now,),) = fetch(_NOW, {})
        looked, before, last = (asked, time.monotonic()), self._looked, self.now
        self._looked, self.now = looked, now
        if last is None:
            return False
        passed = (now - last).total_seconds()
        # The server read its clock at some moment between the question and the answer.
        return self._note(now, ahead=passed - (looked[1] - before[0]), behind=(looked[0] - before[1]) - passed)

    def _note(self, now: datetime, *, ahead: float, behind: float) -> bool:
        if max(ahead, behind) <= TOLERANCE_SECONDS:
            return False
        if ahead > 0:
            self.forward = Step(now, self.forward.seconds + ahead)
        self._settles_at = time.monotonic() + conf.HEARTBEAT_INTERVAL_SECONDS
        seconds = round(ahead if ahead > 0 else -behind, 1)
        log.warning("the database's clock stepped; no worker is declared gone for a heartbeat", seconds=seconds)
        return True
