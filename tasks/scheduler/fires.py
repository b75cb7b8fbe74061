"""Which fires of a schedule become tasks now: what has come, what was missed, and what overlaps."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile

from tasks.lifecycle.fire import Decision
from tasks.models import Schedule
from tasks.states import CatchUp, Overlap

#: A fire that is later than this was missed; a new leader is up sooner.
GRACE = timedelta(seconds=60)
#: Tasks that one schedule makes in one round; the next round makes more.
MOST_AT_ONCE = 100
#: Fires that one round looks at; the next round looks at more.
MOST_LOOKED_AT = 5_000
#: Tasks of a backfill that may wait or run at the same time, if tasks may overlap at all.
BACKFILL_AT_ONCE = 10

_TICK = timedelta(microseconds=1)


def decide(schedule: Schedule, *, now: datetime, is_busy: bool) -> Decision | None:
    """Decide what a schedule does now; None if it has to wait.

    Parameters:
        is_busy: whether the last task has not ended.
    """
    if schedule.next_fire_at is None or schedule.next_fire_at > now:
        return _buffered(schedule) if schedule.buffered_fire_at is not None and not is_busy else None
    # What is older than the window is left out without looking at it: it may be a million fires.
    start = max(schedule.next_fire_at, now - max(timedelta(seconds=schedule.catch_up_window_seconds), GRACE))
    come = [*islice(takewhile(lambda fire: fire <= now, schedule.timetable.fires(start - _TICK)), MOST_LOOKED_AT)]
    if not come:
        return _decision(schedule, until=start, buffered=schedule.buffered_fire_at)
    late = [fire for fire in come if now - fire > GRACE]
    runs_all = schedule.catch_up == CatchUp.ALL and schedule.overlap != Overlap.CANCEL_RUNNING
    if runs_all and late:
        return _catch_up(schedule, come, is_busy=is_busy)
    if len(late) == MOST_LOOKED_AT:
        # The newest of these may be the one to run, or may not: the next round sees.
        return _decision(schedule, until=late[-2], missed=len(late) - 1, buffered=schedule.buffered_fire_at)
    # Whatever is in time runs; if nothing is, the newest that was missed may.
    wanted = come[len(late) :] or (late[-1:] if schedule.catch_up != CatchUp.NONE else [])
    return _overlapping(schedule, wanted, until=come[-1], missed=len(come) - len(wanted), is_busy=is_busy)


def _catch_up(schedule: Schedule, come: Sequence[datetime], *, is_busy: bool) -> Decision | None:
    """Run all that was missed: at once if tasks may overlap, else in turn; to skip one would be to miss it."""
    if schedule.overlap == Overlap.ALLOW:
        fires = come[:MOST_AT_ONCE]
        return _decision(schedule, fires, until=fires[-1])
    if is_busy:
        return None
    return _decision(schedule, come[:1], until=come[0]) if schedule.buffered_fire_at is None else _buffered(schedule)


def _overlapping(
    schedule: Schedule, wanted: Sequence[datetime], *, until: datetime, missed: int, is_busy: bool
) -> Decision:
    """Decide which of the fires that shall run do so, beside a task that may run still."""
    fires, buffered = wanted, schedule.buffered_fire_at
    match schedule.overlap:
        case Overlap.SKIP:
            fires = [] if is_busy else wanted[-1:]
        case Overlap.CANCEL_RUNNING:
            fires = wanted[-1:]
        case Overlap.BUFFER_ONE:
            waiting = ([buffered] if buffered else []) + list(wanted)
            fires, waiting = ([], waiting) if is_busy else (waiting[:1], waiting[1:])
            skipped = max(0, len(waiting) - 1)
            return _decision(
                schedule, fires, until=until, missed=missed, skipped=skipped, buffered=next(iter(waiting), None)
            )
    is_cancelling = schedule.overlap == Overlap.CANCEL_RUNNING and is_busy and bool(fires)
    skipped = len(wanted) - len(fires)
    return _decision(schedule, fires, until=until, missed=missed, skipped=skipped, is_cancelling=is_cancelling)


def _buffered(schedule: Schedule) -> Decision:
    """Run the fire that waited for the end of a task."""
    fires = [schedule.buffered_fire_at] if schedule.buffered_fire_at else []
    return Decision(
        schedule=schedule,
        fires=fires,
        fired_until=schedule.fired_until,
        next_fire_at=schedule.next_fire_at,
        backfill_from=schedule.backfill_from,
    )


def fill(schedule: Schedule, *, unfinished: int) -> Decision | None:
    """Decide which past fires a backfill makes next; None if enough of its tasks have not ended.

    Parameters:
        unfinished: how many of its tasks wait or run.
    """
    room = (BACKFILL_AT_ONCE if schedule.overlap == Overlap.ALLOW else 1) - unfinished
    if schedule.backfill_from is None or schedule.backfill_until is None or room <= 0:
        return None
    found = schedule.timetable.between(schedule.backfill_from, schedule.backfill_until, most=room + 1)
    return Decision(
        schedule=schedule,
        fires=found[:room],
        fired_until=schedule.fired_until,
        next_fire_at=schedule.next_fire_at,
        buffered_fire_at=schedule.buffered_fire_at,
        backfill_from=next(iter(found[room:]), None),
        is_backfill=True,
    )


def _decision(
    schedule: Schedule,
    fires: Sequence[datetime] = (),
    *,
    until: datetime,
    missed: int = 0,
    skipped: int = 0,
    buffered: datetime | None = None,
    is_cancelling: bool = False,
) -> Decision:
    """Decide all fires up to a moment, and what waits for the end of a task afterwards."""
    return Decision(
        schedule=schedule,
        fires=fires,
        fired_until=until,
        next_fire_at=schedule.timetable.after(until),
        buffered_fire_at=buffered,
        backfill_from=schedule.backfill_from,
        missed=missed,
        skipped=skipped,
        is_cancelling=is_cancelling,
    )
