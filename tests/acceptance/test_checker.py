"""The checker finds each kind of violation; a clean history has none."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.harness.checker import Evidence, violations
from tests.acceptance.harness.database import AttemptRow, EventRow, LetterRow, Move, Snapshot, TaskRow, WorkerRow
from tests.acceptance.harness.history import History, Submission
from tests.acceptance.harness.ledger import Entry
from tests.acceptance.harness.repeats import repeated

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TASK, OTHER, FIRST, SECOND = "task", "other", "first worker", "second worker"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def entry(event: str, attempt: int, seconds: float, *, task: str = TASK) -> Entry:
    return Entry(event, task, attempt, pid=attempt, monotonic=seconds, wall=at(seconds).timestamp())


def task(status: str, *, id: str = TASK, attempt: int = 1, **changes: Any) -> TaskRow:
    row = TaskRow(id, "effect", status, attempt, attempt, 0, 0, max_retries=3, tags=["submission-0"], error="")
    return row._replace(**changes)


def attempt(number: int, outcome: str, *, worker: str = FIRST, id: str = TASK) -> AttemptRow:
    return AttemptRow(id, number, outcome, worker, at(number), at(number + 1), "")


def worker(id: str, *, lease_over: float, gone: float | None) -> WorkerRow:
    status = "ALIVE" if gone is None else "GONE"
    return WorkerRow(id, 1, status, at(lease_over), None if gone is None else at(gone), None)


def moves(*statuses: str, id: str = TASK) -> list[Move]:
    """Move through these states, 0.1 s each; QUEUED counts a dispatch, RUNNING an attempt."""
    found, before, dispatch, number = [], None, 0, 0
    for step, status in enumerate(statuses):
        dispatch, number = dispatch + (status == "QUEUED"), number + (status == "RUNNING")
        found.append(Move(at(step / 10), id, before, status, dispatch, number, run_at=NOON))
        before = status
    return found


def accepted(*ids: str) -> History:
    return History([Submission("submission-0", "ok", len(ids), ids)])


#: One task that was submitted and succeeded.
CLEAN = Evidence(
    history=accepted(TASK),
    ledger=[entry("START", 1, 1), entry("EFFECT", 1, 1.1), entry("END", 1, 1.2)],
    rows=Snapshot(
        tasks=[task("SUCCEEDED")],
        attempts=[attempt(1, "SUCCEEDED")],
        workers=[worker(FIRST, lease_over=20, gone=10)],
        move_log=moves("PENDING", "QUEUED", "RUNNING", "SUCCEEDED"),
    ),
)
#: A worker stood still so long that its task was given to another.
TAKEN_OVER = Evidence(
    history=accepted(TASK),
    ledger=[entry("START", 1, 1), entry("START", 2, 5), entry("EFFECT", 2, 5.1), entry("TICK", 1, 5.5)],
    rows=Snapshot(
        tasks=[task("SUCCEEDED", attempt=2)],
        attempts=[attempt(1, "LOST"), attempt(2, "SUCCEEDED", worker=SECOND)],
        workers=[worker(FIRST, lease_over=3, gone=4), worker(SECOND, lease_over=20, gone=10)],
        move_log=moves("PENDING", "QUEUED", "RUNNING", "PENDING", "QUEUED", "RUNNING", "SUCCEEDED"),
    ),
)
#: A task that died.
DEAD = Evidence(
    history=accepted(TASK),
    ledger=[entry("START", 1, 1), entry("END", 1, 1.2)],
    rows=Snapshot(
        tasks=[task("DEAD", failures=1, max_retries=0)],
        attempts=[attempt(1, "FAILED")],
        letters=[LetterRow(TASK, "max_retries_exceeded", "")],
        workers=[worker(FIRST, lease_over=20, gone=10)],
        move_log=moves("PENDING", "QUEUED", "RUNNING", "DEAD"),
    ),
)


def with_rows(evidence: Evidence, **changes: Any) -> Evidence:
    return replace(evidence, rows=replace(evidence.rows, **changes))


@pytest.mark.parametrize("evidence", [CLEAN, TAKEN_OVER, DEAD])
def test_a_clean_history_has_no_violations(evidence: Evidence) -> None:
    assert violations(evidence) == []


#: Each kind of violation: its name, a history that has it, and the sentence that the checker finds.
BROKEN: dict[str, tuple[Callable[[], Evidence], str]] = {
    "an accepted task is gone": (
        lambda: replace(CLEAN, history=accepted(TASK, OTHER)),
        "I1: task other was accepted and does not exist",
    ),
    "a submission is there in part": (
        lambda: replace(CLEAN, history=History([Submission("submission-0", "unknown", 2)])),
        "I1: submission-0 of 2 tasks was answered 'unknown', and 1 of them exist",
    ),
    "a refused task exists": (
        lambda: replace(CLEAN, history=History([Submission("submission-0", "failed", 1)])),
        "I1: submission-0 of 1 tasks was answered 'failed', and 1 of them exist",
    ),
    "a submission exists twice": (
        lambda: with_rows(CLEAN, tasks=[task("SUCCEEDED"), task("CANCELLED", id=OTHER)]),
        "I1: submission-0 of 1 tasks was answered 'ok', and 2 of them exist",
    ),
    "a task that nobody submitted": (
        lambda: with_rows(CLEAN, tasks=[task("SUCCEEDED"), task("CANCELLED", id=OTHER, tags=[])]),
        "I1: task other exists and nobody submitted it",
    ),
    "a final status changes": (
        lambda: with_rows(CLEAN, move_log=moves("PENDING", "CANCELLED", "PENDING", "QUEUED", "RUNNING", "SUCCEEDED")),
        "I2: task task left a final status 1 times, an operator asked for it 0 times",
    ),
    "an illegal move": (
        lambda: with_rows(CLEAN, move_log=moves("PENDING", "RUNNING", "SUCCEEDED")),
        "I2: task task went from PENDING to RUNNING",
    ),
    "a success is not the end": (
        lambda: with_rows(CLEAN, move_log=moves("PENDING", "QUEUED", "RUNNING", "SUCCEEDED", "PENDING")),
        "I2: task task went from SUCCEEDED to PENDING",
    ),
    "a move that the log did not see": (
        lambda: with_rows(CLEAN, move_log=[*CLEAN.rows.move_log[:1], *CLEAN.rows.move_log[2:]]),
        "I2: task task was PENDING and then left QUEUED",
    ),
    "a number goes back": (
        lambda: with_rows(CLEAN, move_log=[*CLEAN.rows.move_log[:3], CLEAN.rows.move_log[3]._replace(dispatch=0)]),
        "I2: task task has numbers that went back at its move to SUCCEEDED",
    ),
    "two successes": (
        lambda: with_rows(TAKEN_OVER, attempts=[attempt(1, "SUCCEEDED"), attempt(2, "SUCCEEDED", worker=SECOND)]),
        "I2: task task is SUCCEEDED and has 2 successful attempts",
    ),
    "a success without an attempt": (
        lambda: with_rows(CLEAN, attempts=[attempt(1, "LOST")]),
        "I2: task task is SUCCEEDED and has 0 successful attempts",
    ),
    "it goes on after its success": (
        lambda: replace(CLEAN, ledger=[*CLEAN.ledger, entry("START", 2, 3)]),
        "I2: task task succeeded in attempt 1 and went on with attempt 2",
    ),
    "a start without an attempt row": (
        lambda: with_rows(TAKEN_OVER, attempts=[attempt(2, "SUCCEEDED", worker=SECOND)]),
        "I3: attempt 1 of task task started and has no row",
    ),
    "an attempt starts twice": (
        lambda: replace(CLEAN, ledger=[*CLEAN.ledger, entry("START", 1, 3)]),
        "I3: attempt 1 of task task started 2 times",
    ),
    "too many failures": (
        lambda: with_rows(CLEAN, tasks=[task("SUCCEEDED", failures=5)]),
        "I3: task task failed 5 times, allowed are 4",
    ),
    "too many crashes": (
        lambda: replace(with_rows(DEAD, attempts=[attempt(1, "CRASHED"), attempt(2, "CRASHED")]), crash_limit=1),
        "I3: task task crashed 2 times, the limit is 1",
    ),
    "an overlap within the lease": (
        lambda: with_rows(
            TAKEN_OVER, workers=[worker(FIRST, lease_over=20, gone=10), worker(SECOND, lease_over=20, gone=10)]
        ),
        "I4: attempt 2 of task task started while attempt 1 ran and its worker first worker still had its lease",
    ),
    "a worker that was declared gone before its lease was over": (
        lambda: with_rows(
            TAKEN_OVER, workers=[worker(FIRST, lease_over=4.5, gone=4), worker(SECOND, lease_over=20, gone=10)]
        ),
        "I4: attempt 2 of task task started while attempt 1 ran and its worker first worker still had its lease",
    ),
    "the loser's outcome is accepted": (
        lambda: with_rows(TAKEN_OVER, attempts=[attempt(1, "FAILED"), attempt(2, "SUCCEEDED", worker=SECOND)]),
        "I4: attempt 1 of task task ran beside attempt 2 and its outcome FAILED was accepted",
    ),
    "the loser's time-out is accepted": (
        lambda: with_rows(TAKEN_OVER, attempts=[attempt(1, "TIMED_OUT"), attempt(2, "SUCCEEDED", worker=SECOND)]),
        "I4: attempt 1 of task task ran beside attempt 2 and its outcome TIMED_OUT was accepted",
    ),
    "a task that never ends": (
        lambda: with_rows(CLEAN, tasks=[task("QUEUED")]),
        "I5: task task (effect) is still QUEUED",
    ),
    "an operator had to help": (
        lambda: with_rows(CLEAN, events=[EventRow(TASK, "retry")]),
        "I5: task task got 1 second lives, the client asked for 0",
    ),
    "a start before its time": (
        lambda: with_rows(CLEAN, move_log=[move._replace(run_at=at(2)) for move in CLEAN.rows.move_log]),
        "I7: attempt 1 of task task started 1.000 s before its run_at",
    ),
    "a start without a claim": (
        lambda: with_rows(CLEAN, move_log=moves("PENDING", "CANCELLED")),
        "I7: attempt 1 of task task started and was never claimed",
    ),
    "a death without a dead letter": (
        lambda: with_rows(DEAD, letters=[]),
        "I8: task task is DEAD and has 0 open dead letters, expected 1",
    ),
    "two open dead letters": (
        lambda: with_rows(DEAD, letters=[*DEAD.rows.letters, *DEAD.rows.letters]),
        "I8: task task is DEAD and has 2 open dead letters, expected 1",
    ),
    "an open dead letter of a living task": (
        lambda: with_rows(CLEAN, letters=DEAD.rows.letters),
        "I8: task task is SUCCEEDED and has 1 open dead letters, expected 0",
    ),
    "an open dead letter of nobody": (
        lambda: with_rows(CLEAN, letters=[LetterRow(OTHER, "gave_up", "")]),
        "I8: an open dead letter names task other, which does not exist",
    ),
    "a worker that still counts as alive": (
        lambda: with_rows(CLEAN, workers=[worker(FIRST, lease_over=20, gone=None)]),
        "I9: worker first worker (pid 1) has ended and is still ALIVE",
    ),
    "an orphan": (
        lambda: replace(CLEAN, residue=["process 7 of workers-1 has outlived it"]),
        "I9: process 7 of workers-1 has outlived it",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_checker_finds(what: str) -> None:
    broken, sentence = BROKEN[what]
    assert sentence in violations(broken())


def test_a_stuck_task_may_be_taken_from_a_worker_that_lives() -> None:
    stuck = attempt(1, "TIMED_OUT")._replace(error_type="Stuck")
    workers = [worker(FIRST, lease_over=20, gone=10), worker(SECOND, lease_over=20, gone=10)]
    evidence = with_rows(TAKEN_OVER, attempts=[stuck, attempt(2, "SUCCEEDED", worker=SECOND)], workers=workers)
    assert violations(evidence) == []


def test_a_discarded_death_needs_no_open_dead_letter() -> None:
    assert violations(with_rows(DEAD, letters=[LetterRow(TASK, "gave_up", "DISCARDED")])) == []


def test_a_second_life_that_the_client_asked_for_is_no_violation() -> None:
    history = replace(accepted(TASK), second_lives=[TASK])
    move_log = moves("PENDING", "CANCELLED", "PENDING", "QUEUED", "RUNNING", "SUCCEEDED")
    evidence = with_rows(replace(CLEAN, history=history), move_log=move_log, events=[EventRow(TASK, "retry")])
    assert violations(evidence) == []


#: The actor succeeded in its first attempt, and its task ran again.
AGAIN = with_rows(
    replace(CLEAN, ledger=[entry("START", 1, 1), entry("END", 1, 1.2), entry("START", 2, 5), entry("END", 2, 5.2)]),
    tasks=[task("SUCCEEDED", attempt=2)],
    attempts=[attempt(1, "LOST"), attempt(2, "SUCCEEDED", worker=SECOND)],
)


def test_finished_work_that_was_repeated_is_found() -> None:
    (sentence,) = repeated(AGAIN)
    assert sentence.startswith("I10: attempt 1 of task task finished in process 1, which lived on; it is LOST, and")
    assert repeated(CLEAN) == []


def test_work_of_a_process_that_was_killed_may_be_repeated() -> None:
    crashed = worker(FIRST, lease_over=3, gone=4)._replace(crash={"kind": "crashed"})
    stopped = crashed._replace(crash={"kind": "stopped"})
    fatal = task("DEAD", id=OTHER, actor="leave")
    taken_along = replace(AGAIN, ledger=[*AGAIN.ledger, entry("START", 1, 1.1, task=OTHER)])
    assert repeated(AGAIN, felled={1}) == []
    assert repeated(with_rows(AGAIN, workers=[crashed])) == []
    assert repeated(with_rows(taken_along, tasks=[task("SUCCEEDED"), fatal])) == []
    assert repeated(with_rows(AGAIN, workers=[stopped])) != []


def test_work_that_failed_or_was_interrupted_may_be_repeated() -> None:
    failed = [one._replace(note="RuntimeError") if one.event == "END" else one for one in AGAIN.ledger]
    late = [attempt(1, "TIMED_OUT")._replace(error_type="TimeLimitExceeded"), attempt(2, "SUCCEEDED")]
    assert repeated(replace(AGAIN, ledger=failed)) == []
    assert repeated(with_rows(AGAIN, attempts=late)) == []


def test_an_actor_that_ended_after_it_had_lost_its_task_finished_nothing() -> None:
    overtaken = [entry("START", 1, 1), entry("START", 2, 5), entry("END", 1, 5.1), entry("END", 2, 5.2)]
    gone = worker(FIRST, lease_over=0.5, gone=1.1)
    assert repeated(replace(AGAIN, ledger=overtaken)) == []
    assert repeated(with_rows(AGAIN, workers=[gone])) == []
