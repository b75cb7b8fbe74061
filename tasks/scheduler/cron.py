"""The cron loop: makes the tasks of schedules whose time has come, while this process leads."""

import time
from datetime import datetime
from uuid import UUID

from tasks.db.clock import Clock
from tasks.declared_schedules import all_declared
from tasks.lifecycle import schedules
from tasks.lifecycle.fire import Decision, fire_many, pause_failing, realign
from tasks.log import get_logger
from tasks.models import Schedule, Task
from tasks.scheduler.fires import BACKFILL_AT_ONCE, decide, fill
from tasks.scheduler.leadership import LEASE, Leadership
from tasks.scheduler.loop import Loop
from tasks.states import FINAL

log = get_logger(__name__)

#: Schedules of one round.
BATCH = 500
#: Between two rounds at most: a schedule may be new, or may wait for the end of a task.
LONGEST_REST_SECONDS = 1.0
#: How long a schedule is left alone that has to wait, and one that cannot make its task: others get their turn.
WAIT_SECONDS, PROBLEM_SECONDS = 0.9, 10.0
#: How often failures in a row are counted without a fire.
JUDGING_SECONDS = 10.0
#: How often the next fires are computed anew, in case something was missed.
ALIGNING_SECONDS = 600.0


class Cron(Loop):
    """Fires schedules."""

    name = "cron"

    def __init__(self, leadership: Leadership) -> None:
        super().__init__()
        self._leadership = leadership
        self._clock = Clock()
        self._term: int | None = None
        self._judged_at = self._aligned_at = -ALIGNING_SECONDS
        #: Until when, by this process's clock, a schedule is left alone.
        self._left_alone: dict[UUID, float] = {}

    def step(self) -> float:
        """Fire what is due, a batch of schedules at a time."""
        term = self._leadership.term
        if term is None:
            return LONGEST_REST_SECONDS
        self._prepare(term)
        self._left_alone = {id: until for id, until in self._left_alone.items() if until > time.monotonic()}
        due = Schedule.objects.due().exclude(pk__in=self._left_alone).with_their_busy().order_by("next_fire_at")[:BATCH]
        found = list(due)
        self._judge(term, is_due=any(one.pause_after_failures for one in found))
        decisions = [one for schedule in found for one in [self._decide(schedule)] if one is not None]
        fired = fire_many(decisions, lease=LEASE, term=term)
        self._left_alone |= dict.fromkeys(fired.problems, time.monotonic() + PROBLEM_SECONDS)
        return 0 if len(found) == BATCH or fired.moves else self._idle_seconds()

    def _prepare(self, term: int) -> None:
        """Bring rows up to date with the code at the start of a term, and with the clock after a step."""
        has_stepped, is_new = self._clock.look(), term != self._term
        if is_new:
            self._declare()
        now = time.monotonic()
        if is_new or has_stepped or now - self._aligned_at > ALIGNING_SECONDS:
            assert self._clock.now is not None
            changed = realign(now=self._clock.now, lease=LEASE, term=term)
            if changed:
                log.info("next fires of schedules were computed anew", count=changed)
            self._aligned_at, self._term = now, term

    @staticmethod
    def _declare() -> None:
        try:
            problems = schedules.declare(all_declared())
        except ValueError as error:
            log.error("schedules in code are not valid; those that are known go on", error=str(error))
            return
        for name, problem in problems.items():
            log.error("a schedule in code is not valid and does not fire as declared", schedule=name, error=problem)

    def _judge(self, term: int, *, is_due: bool) -> None:
        if is_due or time.monotonic() - self._judged_at > JUDGING_SECONDS:
            self._judged_at = time.monotonic()
            pause_failing(lease=LEASE, term=term)

    def _decide(self, schedule: Schedule) -> Decision | None:
        now: datetime = schedule.now  # type: ignore[attr-defined]
        decision = decide(schedule, now=now, is_busy=schedule.is_busy)  # type: ignore[attr-defined]
        if decision is None and schedule.backfill_from is not None:
            decision = fill(schedule, unfinished=_unfinished(schedule))
        if decision is None:
            self._left_alone[schedule.pk] = time.monotonic() + WAIT_SECONDS
        return decision

    @staticmethod
    def _idle_seconds() -> float:
        """Tell how long nothing is due."""
        active = Schedule.objects.active().filter(next_fire_at__isnull=False)
        soonest = active.order_by("next_fire_at").values_list("next_fire_at", flat=True).first()
        if soonest is None:
            return LONGEST_REST_SECONDS
        return min(max((soonest - schedules.database_now()).total_seconds(), 0.01), LONGEST_REST_SECONDS)


def _unfinished(schedule: Schedule) -> int:
    """Count the tasks of a backfill that have not ended, as far back as it can matter."""
    made = Task.objects.filter(schedule_id=schedule.pk, scheduled_at__lt=schedule.backfill_from)
    statuses = made.order_by("-scheduled_at").values_list("status", flat=True)[: 10 * BACKFILL_AT_ONCE]
    return sum(status not in FINAL for status in statuses)
