"""fire: the leader submits the tasks of schedules whose time has come, one task for each fire.

Three things keep a fire from becoming two tasks: the leader's term; the comparison with what the decision was made
from, under a lock of the schedule's row; and a unique index on schedule and fire, for a clock that was set back.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks.db.statements import as_json, fetch
from tasks.errors import CallboardError, FieldError, InvalidTask, UnknownActor
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.cancel import cancel_many
from tasks.lifecycle.journal import Author, entries
from tasks.lifecycle.predicates import IS_LEADING, LEAD
from tasks.lifecycle.submit import checked, insertion
from tasks.log import get_logger
from tasks.models import Schedule
from tasks.schedule_definition import NO_KEYS
from tasks.states import Door, Status
from tasks.submission import Submission
from tasks.testing import failpoints
from tasks.timetable import zone

log = get_logger(__name__)

_SCHEDULER = Author(door=Door.SCHEDULER, reason="its schedule fired again")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a schedule does now, and its state afterwards.

    Parameters:
        schedule: as it was read; if it has changed since, nothing is done.
        fires: each becomes a task.
        is_cancelling: cancel the task before.
        skipped, missed: how many fires are left out.
        is_backfill: its tasks are of the past, and no later fire waits for them.
    """

    schedule: Schedule
    fires: Sequence[datetime] = ()
    is_cancelling: bool = False
    skipped: int = 0
    missed: int = 0
    fired_until: datetime
    next_fire_at: datetime | None
    buffered_fire_at: datetime | None = None
    backfill_from: datetime | None = None
    is_backfill: bool = False


@dataclass
class Fired:
    """What became of decisions: the tasks, and the schedules that cannot make any, with the reason."""

    moves: list[Moved] = field(default_factory=list)
    problems: dict[UUID, str] = field(default_factory=dict)


_PLACE = re.compile(r"\{(scheduled_at|scheduled_date)\}")


def submission_of(schedule: Schedule, fire: datetime) -> Submission:
    """Make the submission of a fire; its payload and its actor get to know the time, as the zone's clocks show it."""
    shown = fire.astimezone(zone(schedule.timezone))
    texts = {"scheduled_at": shown.isoformat(), "scheduled_date": shown.date().isoformat()}
    return Submission(
        actor=schedule.actor,
        payload=_filled(schedule.payload, texts),
        owner_id=schedule.owner_id,
        options={"scheduled_at": texts["scheduled_at"]},
        **schedule.options,
    )


def _filled(value: Any, texts: dict[str, str]) -> Any:
    """Put the fire's time into the places for it in a payload."""
    if isinstance(value, str):
        return _PLACE.sub(lambda found: texts[found[1]], value)
    if isinstance(value, dict):
        return {key: _filled(item, texts) for key, item in value.items()}
    return [_filled(item, texts) for item in value] if isinstance(value, list) else value


def row_of(schedule: Schedule, fire: datetime, *, run_at: datetime | None = None) -> dict[str, Any]:
    """Make the row of a fire's task.

    Raises:
        InvalidTask, UnknownActor: the schedule's actor does not take it, or has unique keys.
    """
    row = checked(submission_of(schedule, fire))
    if "unique_key" in row:
        raise InvalidTask(NO_KEYS, errors=[FieldError("actor", "not_supported", NO_KEYS)])
    return row | {"schedule_id": schedule.pk, "scheduled_at": fire, "run_at": run_at}


# A conflict means that the fire has its task: a clock was set back, or a range is filled that has fired before.
_INSERT = insertion({"schedule_id": "uuid", "scheduled_at": "timestamptz"}, taken="")


def insert(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Insert the tasks of fires and announce them; return those that had none yet."""
    if not rows:
        return []
    parameters = {"tasks": as_json([{name: value for name, value in row.items() if value is not None} for row in rows])}
    written = {id for id, *_ in fetch(_INSERT, parameters)}
    new = [row for row in rows if row["id"] in written]
    announce("submit", [Moved(r["id"], Status.PENDING, r["actor"], r["queue"], r["trace_id"]) for r in new])
    return new


# A schedule that somebody edits or another leader fires is left out; it is decided anew.
_HOLD = f"""
WITH {LEAD}, decided AS (
    SELECT * FROM json_to_recordset(%(decisions)s) AS decided (
        id uuid, version integer, next_was timestamptz, buffered_was timestamptz, backfill_was timestamptz
    )
)
SELECT schedule.id FROM decided JOIN callboard_schedule AS schedule ON schedule.id = decided.id
WHERE {IS_LEADING} AND schedule.version = decided.version AND schedule.paused_at IS NULL
  AND schedule.next_fire_at IS NOT DISTINCT FROM decided.next_was
  AND schedule.buffered_fire_at IS NOT DISTINCT FROM decided.buffered_was
  AND schedule.backfill_from IS NOT DISTINCT FROM decided.backfill_was
ORDER BY schedule.id FOR UPDATE OF schedule SKIP LOCKED
"""

_ADVANCE = """
UPDATE callboard_schedule AS schedule
SET next_fire_at = decided.next_fire_at, fired_until = decided.fired_until,
    fired_offset_seconds = decided.fired_offset_seconds, buffered_fire_at = decided.buffered_fire_at,
    backfill_from = decided.backfill_from,
    backfill_until = CASE WHEN decided.backfill_from IS NOT NULL THEN schedule.backfill_until END,
    last_fire_at = COALESCE(decided.last_fire_at, schedule.last_fire_at),
    last_task_id = COALESCE(decided.last_task_id, schedule.last_task_id),
    skipped = schedule.skipped + decided.skipped, missed = schedule.missed + decided.missed, problem = ''
FROM json_to_recordset(%(decisions)s) AS decided (
    id uuid, next_fire_at timestamptz, fired_until timestamptz, fired_offset_seconds integer,
    buffered_fire_at timestamptz, backfill_from timestamptz, last_fire_at timestamptz, last_task_id uuid,
    skipped integer, missed integer
)
WHERE schedule.id = decided.id
RETURNING schedule.id
"""


def fire_many(decisions: Sequence[Decision], *, lease: str, term: int) -> Fired:
    """Carry out decisions that still fit their schedules, all in one transaction.

    A schedule whose actor is unknown here, or does not take its payload, keeps its fire for later; its row says why.
    """
    fired, rows = Fired(), {}
    for one in decisions:
        try:
            rows[one.schedule.pk] = [*_rows(one)]
        except CallboardError as error:
            fired.problems[one.schedule.pk] = reason_of(error)
    ready = [one for one in decisions if one.schedule.pk in rows]
    if ready:
        failpoints.reach("before_fire")
        with transaction.atomic():
            fired.moves = _fire(ready, rows, {"lease": lease, "term": term})
        failpoints.reach("after_fire")
    if fired.problems:
        _note_problems(fired.problems, lease=lease, term=term)
    return fired


def reason_of(error: CallboardError) -> str:
    """Say why a schedule makes no task, without what its payload says: logs and people who may not see it read this."""
    if isinstance(error, UnknownActor) or not error.errors:
        return error.detail
    return f"not valid for its actor: {', '.join(sorted({one.field for one in error.errors}))}"


def _rows(one: Decision) -> Iterator[dict[str, Any]]:
    for fire in one.fires:
        yield row_of(one.schedule, fire, run_at=one.schedule.delayed(fire))


def _fire(decisions: Sequence[Decision], rows: dict[UUID, list[dict[str, Any]]], lead: dict[str, Any]) -> list[Moved]:
    was = [
        {
            "id": one.schedule.pk,
            "version": one.schedule.version,
            "next_was": one.schedule.next_fire_at,
            "buffered_was": one.schedule.buffered_fire_at,
            "backfill_was": one.schedule.backfill_from,
        }
        for one in decisions
    ]
    held = {id for (id,) in fetch(_HOLD, {"decisions": as_json(was), **lead})}
    failpoints.reach("after_fire_hold")
    ready = [one for one in decisions if one.schedule.pk in held]
    cancelled = [one.schedule.last_task_id for one in ready if one.is_cancelling and one.schedule.last_task_id]
    if cancelled:
        cancel_many(cancelled, by=_SCHEDULER)
    new = insert([row for one in ready for row in rows[one.schedule.pk]])
    failpoints.reach("after_fire_insert")
    last = {row["schedule_id"]: row for row in new}
    if ready:
        fetch(_ADVANCE, {"decisions": as_json([_state(one, last.get(one.schedule.pk)) for one in ready])})
    failpoints.reach("before_fire_commit")
    return [Moved(row["id"], Status.PENDING, row["actor"], row["queue"], row["trace_id"]) for row in new]


def _state(one: Decision, last: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": one.schedule.pk,
        "next_fire_at": one.next_fire_at,
        "fired_until": one.fired_until,
        "fired_offset_seconds": one.schedule.timetable.offset_seconds(one.fired_until),
        "buffered_fire_at": one.buffered_fire_at,
        "backfill_from": one.backfill_from,
        "last_fire_at": last["scheduled_at"] if last and not one.is_backfill else None,
        "last_task_id": last["id"] if last and not one.is_backfill else None,
        "skipped": one.skipped,
        "missed": one.missed,
    }


_NOTE_PROBLEMS = f"""
WITH {LEAD}
UPDATE callboard_schedule AS schedule SET problem = found.problem
FROM json_to_recordset(%(problems)s) AS found (id uuid, problem text)
WHERE schedule.id = found.id AND schedule.problem <> found.problem AND {IS_LEADING}
RETURNING schedule.name, schedule.problem
"""


def _note_problems(problems: dict[UUID, str], *, lease: str, term: int) -> None:
    found = [{"id": id, "problem": problem} for id, problem in problems.items()]
    for name, problem in fetch(_NOTE_PROBLEMS, {"problems": as_json(found), "lease": lease, "term": term}):
        log.warning("a schedule cannot make its task; it tries again", schedule=name, problem=problem)


_REALIGN = f"""
WITH {LEAD}
UPDATE callboard_schedule AS schedule SET next_fire_at = found.next_fire_at, fired_until = found.fired_until
FROM json_to_recordset(%(found)s) AS found (
    id uuid, version integer, next_was timestamptz, next_fire_at timestamptz, fired_until timestamptz
)
WHERE schedule.id = found.id AND schedule.version = found.version AND {IS_LEADING}
  AND schedule.next_fire_at IS NOT DISTINCT FROM found.next_was
RETURNING schedule.id
"""


def realign(*, now: datetime, lease: str, term: int) -> int:
    """Compute the next fires of all schedules again; return how many were others.

    They are others after a clock was set back, and after the rules of a zone have changed.
    """
    found = []
    for one in Schedule.objects.active().iterator():
        table, until = one.timetable, min(one.fired_until, now)
        until = table.counted_from(until, offset_seconds=one.fired_offset_seconds)
        after = table.after(until)
        if after != one.next_fire_at:
            found.append(
                {
                    "id": one.pk,
                    "version": one.version,
                    "next_was": one.next_fire_at,
                    "next_fire_at": after,
                    "fired_until": until,
                }
            )
    return len(fetch(_REALIGN, {"found": as_json(found), "lease": lease, "term": term})) if found else 0


# A success, once seen, moves the mark from which failures count: the pruner removes successes before dead tasks.
_PAUSE_FAILING = f"""
WITH {LEAD}, watched AS (
    SELECT schedule.id, GREATEST(schedule.failures_since, ended.succeeded_at) AS since, ended.dead_at
    FROM callboard_schedule AS schedule CROSS JOIN LATERAL (
        SELECT max(task.scheduled_at) FILTER (WHERE task.status = 'SUCCEEDED') AS succeeded_at,
               array_agg(task.scheduled_at) FILTER (WHERE task.status = 'DEAD') AS dead_at
        FROM callboard_task AS task
        WHERE task.schedule_id = schedule.id AND task.scheduled_at > schedule.failures_since
    ) AS ended
    WHERE schedule.pause_after_failures IS NOT NULL AND schedule.paused_at IS NULL AND {IS_LEADING}
      AND (ended.succeeded_at IS NOT NULL OR ended.dead_at IS NOT NULL)
), judged AS (
    SELECT watched.id, watched.since,
           (SELECT count(*) FROM unnest(watched.dead_at) AS dead (at) WHERE dead.at > watched.since) AS failures
    FROM watched
), changed AS (
    UPDATE callboard_schedule AS schedule
    SET failures_since = judged.since,
        paused_at = CASE WHEN judged.failures >= schedule.pause_after_failures THEN statement_timestamp() END,
        paused_by = '',
        pause_reason = CASE WHEN judged.failures >= schedule.pause_after_failures
                            THEN judged.failures || ' of its tasks died in a row' ELSE '' END
    FROM judged WHERE schedule.id = judged.id AND schedule.paused_at IS NULL
      AND (judged.since > schedule.failures_since OR judged.failures >= schedule.pause_after_failures)
    RETURNING schedule.id, schedule.name, schedule.actor, schedule.paused_at, schedule.pause_reason
), paused AS (
    SELECT * FROM changed WHERE paused_at IS NOT NULL
), noted AS (
    {
    entries(
        "paused",
        verb="'pause'",
        kind="'schedule'",
        id="id::text",
        name="name",
        actor="actor",
        detail="jsonb_build_object('why', pause_reason)",
    )
}
)
SELECT name, pause_reason FROM paused
"""


def pause_failing(*, lease: str, term: int) -> int:
    """Pause the schedules whose tasks have died as often in a row as they allow; return how many."""
    by = Author(door=Door.SCHEDULER, reason="its tasks kept failing")
    paused = fetch(_PAUSE_FAILING, {"lease": lease, "term": term, **by.parameters})
    for name, reason in paused:
        log.warning("schedule paused itself; resume it when its tasks can succeed", schedule=name, why=reason)
    return len(paused)
