"""failures: the statements that write and resolve dead letters count them by cause, and people look after the causes.

A counter in the cause's row would make all workers wait for one another in a flood of deaths of one cause, and two
batches that die of two causes in turn could deadlock. So each statement inserts a delta for each cause, in its own
transaction: both are committed, or neither. Inserts wait for nobody. The leader adds deltas up.
"""

from typing import Any

from django.db import transaction

from dlq.models import Failure, FailureDelta
from tasks.db.statements import fetch
from tasks.errors import NotFound
from tasks.lifecycle.journal import UNKNOWN, Author, record
from tasks.lifecycle.predicates import IS_LEADING, IS_OPEN, LEAD
from tasks.models import Worker
from tasks.states import ObjectKind

#: Deltas that one statement adds up.
MOST_DELTAS = 5_000
#: Of the error's message, in characters; as much as is read for a page.
LONGEST_SAMPLE = 1_000
_SAMPLED = ("actor", "error_type", "error_message", "frame")


def died(
    rows: str, *, letter: str = "letter", task: str = "id", error_type: str = "error_type",
    message: str = "error_message", frame: str = "frame", build: str = "''",
) -> str:  # fmt: skip
    """Write the INSERT of a statement that writes dead letters: how many of each cause.

    Parameters:
        rows: what died, as in FROM and WHERE, with a fingerprint and an actor. All others are SQL of its columns.
    """
    newest = {"actor": "actor::text", "error_type": f"{error_type}::text", "frame": f"{frame}::text", "task_id": task}
    newest["build"] = f"COALESCE({build}, '')"
    newest["error_message"] = f"left({message}, {LONGEST_SAMPLE})"
    picked = ", ".join(f"(array_agg({source} ORDER BY {letter} DESC))[1]" for source in newest.values())
    return f"""INSERT INTO callboard_failuredelta (fingerprint, opened, died, {", ".join(newest)})
    SELECT fingerprint, count(*), count(*), {picked} FROM {rows} GROUP BY fingerprint"""


def resolved(rows: str) -> str:
    """Write the INSERT of a statement that resolves open dead letters: how many fewer of each cause are open.

    Parameters:
        rows: what is resolved, as in FROM, with a fingerprint.
    """
    return f"""INSERT INTO callboard_failuredelta (fingerprint, opened)
    SELECT fingerprint, -count(*) FROM {rows} WHERE fingerprint <> '' GROUP BY fingerprint"""


def reopened(rows: str) -> str:
    """Write the INSERT of a statement that opens resolved dead letters again: how many more of each cause are open.

    Parameters:
        rows: what is opened, as in FROM, with all columns of a dead letter that a failure shows.
    """
    newest = ", ".join(
        f"(array_agg({source} ORDER BY id DESC))[1]"
        for source in ("actor::text", "error_type::text", f"left(error_message, {LONGEST_SAMPLE})", "task_id")
    )
    return f"""INSERT INTO callboard_failuredelta (fingerprint, opened, actor, error_type, error_message, task_id)
    SELECT fingerprint, count(*), {newest} FROM {rows} WHERE fingerprint <> '' GROUP BY fingerprint"""


_KEPT = ", ".join(
    f"{name} = CASE WHEN excluded.total > 0 THEN excluded.{name} ELSE failure.{name} END"
    for name in (*_SAMPLED, "task_id")
)
# Of a death, or else of a dead letter that was restored: its failure may have been removed in between.
_OF_NEWEST = "(array_agg({} ORDER BY died > 0 DESC, id DESC) FILTER (WHERE opened > 0))[1]"
_NEWEST = ", ".join(f"COALESCE({_OF_NEWEST.format(name)}, '')" for name in _SAMPLED)
_BUILD = "COALESCE((array_agg(build ORDER BY {}) FILTER (WHERE died > 0 AND build <> ''))[1], '')"
# A failure that is snoozed until a new build wakes when a task dies of it in a build that did not run at that moment.
_IS_IN_NEW_BUILD = """failure.snoozed_builds IS NOT NULL AND EXISTS (
            SELECT FROM folded WHERE folded.fingerprint = failure.fingerprint AND folded.died > 0
              AND folded.build <> '' AND folded.build <> ALL (failure.snoozed_builds))"""
# Deltas are not numbered in the order of their commits: a re-drive may be added up before the death.
_FOLD = f"""
WITH {LEAD}, waiting AS MATERIALIZED (
    SELECT delta.id FROM callboard_failuredelta AS delta
    WHERE {IS_LEADING} ORDER BY delta.id LIMIT {MOST_DELTAS} FOR UPDATE SKIP LOCKED
), folded AS (
    DELETE FROM callboard_failuredelta AS delta USING waiting WHERE delta.id = waiting.id RETURNING delta.*
), added AS (
    INSERT INTO callboard_failure AS failure (
        fingerprint, open, total, first_seen_at, last_seen_at, {", ".join(_SAMPLED)}, task_id, first_build, last_build
    )
    SELECT fingerprint, sum(opened), sum(died), min(at), COALESCE(max(at) FILTER (WHERE died > 0), min(at)), {_NEWEST},
           {_OF_NEWEST.format("task_id")},
           {_BUILD.format("id")}, {_BUILD.format("id DESC")}
    FROM folded GROUP BY fingerprint ORDER BY fingerprint
    ON CONFLICT (fingerprint) DO UPDATE
    SET open = failure.open + excluded.open, total = failure.total + excluded.total,
        first_seen_at = LEAST(failure.first_seen_at, excluded.first_seen_at),
        last_seen_at = CASE WHEN excluded.total > 0 THEN GREATEST(failure.last_seen_at, excluded.last_seen_at)
                            ELSE failure.last_seen_at END,
        first_build = CASE WHEN failure.total = 0 THEN excluded.first_build ELSE failure.first_build END,
        last_build = COALESCE(NULLIF(excluded.last_build, ''), failure.last_build),
        snoozed_builds = CASE WHEN {_IS_IN_NEW_BUILD} THEN NULL ELSE failure.snoozed_builds END,
        {_KEPT}
)
SELECT count(*) FROM folded
"""


def fold_failures(*, lease: str, term: int) -> int:
    """Add at most ``MOST_DELTAS`` deltas to their failures; return how many."""
    ((folded,),) = fetch(_FOLD, {"lease": lease, "term": term}, prepared="callboard_fold_failures")
    return int(folded)


# This is exact, too: one snapshot sees a dead letter with its delta, or neither, and the leader adds no deltas up while
# it recounts. It counts what a release without deltas wrote, such as the old workers during an upgrade.
_RECOUNT = f"""
WITH {LEAD}, counted AS (
    SELECT letter.fingerprint, count(*) AS open, min(letter.died_at) AS first, max(letter.died_at) AS last,
           max(letter.id::text)::uuid AS newest
    FROM callboard_deadletter AS letter WHERE {IS_OPEN} AND letter.fingerprint <> '' GROUP BY letter.fingerprint
), waiting AS (
    SELECT fingerprint, sum(opened) AS opened, sum(died) AS died FROM callboard_failuredelta GROUP BY fingerprint
), wrong AS (
    SELECT COALESCE(counted.fingerprint, failure.fingerprint) AS fingerprint,
           COALESCE(counted.open, 0) - COALESCE(waiting.opened, 0) AS open, COALESCE(waiting.died, 0) AS died,
           counted.first, counted.last, counted.newest
    FROM counted FULL JOIN callboard_failure AS failure ON failure.fingerprint = counted.fingerprint
    LEFT JOIN waiting ON waiting.fingerprint = COALESCE(counted.fingerprint, failure.fingerprint)
    WHERE {IS_LEADING}
      AND failure.open IS DISTINCT FROM COALESCE(counted.open, 0) - COALESCE(waiting.opened, 0)
)
INSERT INTO callboard_failure AS failure (
    fingerprint, open, total, first_seen_at, last_seen_at, actor, error_type, error_message, task_id, frame
)
SELECT wrong.fingerprint, wrong.open, GREATEST(wrong.open, 0), COALESCE(wrong.first, statement_timestamp()),
       COALESCE(wrong.last, statement_timestamp()), COALESCE(letter.actor, ''), COALESCE(letter.error_type, ''),
       COALESCE(left(letter.error_message, {LONGEST_SAMPLE}), ''), letter.task_id, ''
FROM wrong LEFT JOIN callboard_deadletter AS letter ON letter.id = wrong.newest
ORDER BY wrong.fingerprint
ON CONFLICT (fingerprint) DO UPDATE
SET open = excluded.open, total = failure.total + GREATEST(excluded.open - failure.open, 0)
RETURNING fingerprint
"""


def recount_failures(*, lease: str, term: int) -> int:
    """Set the open count of failures to the number of their open dead letters where it differs; return how many."""
    return len(fetch(_RECOUNT, {"lease": lease, "term": term}))


_PRUNE = f"""
WITH {LEAD}, old AS MATERIALIZED (
    SELECT failure.fingerprint FROM callboard_failure AS failure
    WHERE failure.open = 0 AND failure.last_seen_at < statement_timestamp() - %(seconds)s * interval '1 second'
      AND {IS_LEADING}
      -- One that is not added up yet may say otherwise.
      AND NOT EXISTS (SELECT FROM callboard_failuredelta AS delta WHERE delta.fingerprint = failure.fingerprint)
    ORDER BY failure.last_seen_at LIMIT %(batch)s FOR UPDATE OF failure SKIP LOCKED
)
DELETE FROM callboard_failure AS failure USING old WHERE failure.fingerprint = old.fingerprint
RETURNING failure.fingerprint
"""


def prune_failures(*, keep_seconds: float, batch: int, lease: str, term: int) -> int:
    """Remove at most a batch of failures without open dead letters that were last seen that long ago."""
    return len(fetch(_PRUNE, {"seconds": keep_seconds, "batch": batch, "lease": lease, "term": term}))


@transaction.atomic
def look_after(fingerprint: str, change: dict[str, Any], *, by: Author = UNKNOWN) -> Failure:
    """Change who looks after a failure, its note, or until when it is snoozed.

    Parameters:
        change: any of ``assignee``, ``note``, ``snoozed_until``, and ``snoozed_until_new_build``, which is true or
            false. A time and a new build take the place of each other.

    Raises:
        NotFound: no such failure.
    """
    found = Failure.objects.filter(pk=fingerprint).select_for_update().first()
    if found is None:
        raise NotFound(f"there is no failure {fingerprint}")
    values = _snoozed(found, change)
    for name, value in values.items():
        setattr(found, name, value)
    found.save(update_fields=list(values))
    detail = {name: str(value or "") for name, value in change.items()}
    record(by, "edit", ObjectKind.FAILURE, fingerprint, name=f"{found.actor}: {found.error_type}", detail=detail)
    return found


def _snoozed(found: Failure, change: dict[str, Any]) -> dict[str, Any]:
    """Give the columns for a change: a snooze until a new build keeps the builds that are known by now."""
    values = dict(change)
    if "snoozed_until_new_build" in values:
        is_snoozed = values.pop("snoozed_until_new_build")
        values["snoozed_builds"] = _known_builds(found) if is_snoozed else None
        if is_snoozed:
            values["snoozed_until"] = None
    elif values.get("snoozed_until"):
        values["snoozed_builds"] = None
    return values


def _known_builds(found: Failure) -> list[str]:
    running = Worker.objects.present().values_list("build", flat=True).distinct()
    # Deaths from before the snooze that are not added up yet.
    waiting = FailureDelta.objects.filter(fingerprint=found.pk).values_list("build", flat=True)
    return sorted({*running, *waiting, found.last_build} - {""})
