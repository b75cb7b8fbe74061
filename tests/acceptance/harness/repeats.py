"""Finished work that was repeated although the process that had finished it lived on and could have reported it."""

from collections.abc import Collection, Iterator

from tasks.states import AttemptOutcome
from tests.acceptance.harness.checker import Evidence
from tests.acceptance.harness.ledger import Entry

#: Actors of the stage that end their process.
FATAL = frozenset({"crash", "leave", "hold", "stop_loop", "spin"})
#: An interrupt may hit between the last line of an actor and its return; then it has not finished.
_INTERRUPTED = frozenset({"TimeLimitExceeded", "Shutdown"})


def repeated(evidence: Evidence, *, felled: Collection[int] = ()) -> list[str]:
    """Describe each task that started again after its actor had ended well.

    An outcome lives in the memory of its process until it is written, so what finished in a process that was killed may
    run again. What the supervisor reported as a crash counts as killed, and so does a process in which a fatal actor
    did not succeed; everybody else has to write what finished, however long that takes. An actor that ended after its
    task had started elsewhere, or after its worker was declared gone, had lost the task before: I4 judges that.

    Parameters:
        felled: processes that somebody killed, or kept still past their lease.
    """
    excused = {*felled, *_crashed(evidence), *_with_a_fatal_actor(evidence)}
    return [sentence for task in evidence.rows.tasks for sentence in _of_task(evidence, task.id, excused)]


def _of_task(evidence: Evidence, task: str, excused: Collection[int]) -> Iterator[str]:
    starts = {(entry.attempt, entry.pid): entry for entry in evidence.entries(task, "START")}
    for end in evidence.entries(task, "END"):
        has_finished = not end.note and (end.attempt, end.pid) in starts
        later = [one for one in starts.values() if one.attempt > end.attempt]
        if not has_finished or not later or end.pid in excused:
            continue
        again, row = min(later, key=lambda one: one.monotonic), evidence.attempt(task, end.attempt)
        had_lost_it = again.monotonic < end.monotonic or (row is not None and _was_gone(evidence, row.worker, end))
        if not had_lost_it and (row is None or row.error_type not in _INTERRUPTED):
            outcome = f"{row.outcome} {row.error_type}".strip() if row else "not recorded"
            yield (
                f"I10: attempt {end.attempt} of task {task} finished in process {end.pid}, which lived on; "
                f"it is {outcome}, and attempt {again.attempt} did the work again {again.wall - end.wall:.1f} s later"
            )


def _crashed(evidence: Evidence) -> set[int]:
    return {row.pid for row in evidence.rows.workers if (row.crash or {}).get("kind") == "crashed"}


def _was_gone(evidence: Evidence, worker: str, end: Entry) -> bool:
    stopped_at = next((row.stopped_at for row in evidence.rows.workers if row.id == worker), None)
    return stopped_at is not None and stopped_at.timestamp() < end.wall


def _with_a_fatal_actor(evidence: Evidence) -> set[int]:
    fatal = {task.id for task in evidence.rows.tasks if task.actor in FATAL}
    starts = (entry for entry in evidence.ledger if entry.event == "START" and entry.task in fatal)
    return {entry.pid for entry in starts if not _succeeded(evidence, entry)}


def _succeeded(evidence: Evidence, start: Entry) -> bool:
    row = evidence.attempt(start.task, start.attempt)
    return row is not None and row.outcome == AttemptOutcome.SUCCEEDED
