"""Leadership: one scheduler leads at a time, by a lease in the database and a term that fences its writes.

The lease says which process leads, the term makes it safe: every maintenance write holds the term's row FOR SHARE and
names its number, so a write that a deposed leader sends late changes nothing. A leader trusts its lease until its end,
counted from before the request, less a margin. A follower also takes a lease that was not renewed for its whole length
by the follower's own clock, whatever the database's clock says, since that may have stepped back.
"""

import threading
import time
from datetime import datetime
from uuid import UUID

from django.db import Error as DatabaseProblem
from django.db import close_old_connections

from tasks.conf import conf
from tasks.db import call_timeout
from tasks.lifecycle import leases
from tasks.log import get_logger
from tasks.models import new_id
from tasks.scheduler.loop import Loop

log = get_logger(__name__)

LEASE = "scheduler"


class Leadership(Loop):
    """Tries to lead, and keeps the lease while it does."""

    name = "leadership"

    def __init__(self) -> None:
        super().__init__()
        self._holder: UUID = new_id()
        self._lock = threading.Lock()
        self._term: int | None = None
        self._trusted_until = 0.0
        self._since = 0.0
        #: When the lease of another leader ends, and when this process first read that.
        self._seen: tuple[datetime | None, float] = (None, 0.0)

    @property
    def term(self) -> int | None:
        """The term in which this process leads; None while it follows or cannot be sure."""
        with self._lock:
            return self._term if time.monotonic() < self._trusted_until else None

    @property
    def has_settled(self) -> bool:
        """Whether live workers had time for a heartbeat since this term began.

        After an outage of the database every lease is over, the leader's too; live workers renew theirs first.
        """
        return time.monotonic() - self._since > conf.HEARTBEAT_INTERVAL_SECONDS

    def step(self) -> float:
        """Renew the lease, or take it if it is free."""
        asked = time.monotonic()
        seconds = conf.LEADER_LEASE_SECONDS
        if self._term is not None and leases.renew(LEASE, holder=self._holder, seconds=seconds):
            self._trust(asked, self._term)
        else:
            self._take(asked)
        # Followers look often enough to take over within a second of the lease's end.
        return seconds / 5 if self._term is not None else min(0.5, seconds / 5)

    def resign(self) -> None:
        """Let another scheduler lead at once."""
        with self._lock:
            led, self._term = self._term is not None, None
        if not led:
            return
        close_old_connections()
        try:
            with call_timeout.bounded(conf.LEADER_LEASE_SECONDS):
                leases.resign(LEASE, holder=self._holder)
        except DatabaseProblem as error:
            log.warning("cannot resign; the lease will run out", error=str(error).strip())

    def _take(self, asked: float) -> None:
        if self._term is not None:
            log.warning("leadership lost", term=self._term)
            with self._lock:
                self._term = None
        seconds, abandoned = conf.LEADER_LEASE_SECONDS, self._abandoned()
        term = leases.take(LEASE, holder=self._holder, seconds=seconds, abandoned=abandoned)
        if term is None:
            self._look()
        else:
            self._since = time.monotonic()
            self._trust(asked, term)
            log.info("leading", term=term)

    def _look(self) -> None:
        """Note since when another leader has not renewed its lease."""
        expires_at = leases.end_of(LEASE)
        if expires_at != self._seen[0]:
            self._seen = (expires_at, time.monotonic())

    def _abandoned(self) -> datetime | None:
        expires_at, since = self._seen
        return expires_at if time.monotonic() - since > conf.LEADER_LEASE_SECONDS else None

    def _trust(self, asked: float, term: int) -> None:
        margin = conf.LEADER_LEASE_SECONDS / 10
        with self._lock:
            self._term, self._trusted_until = term, asked + conf.LEADER_LEASE_SECONDS - margin
