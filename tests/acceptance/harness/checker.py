"""The invariants I1 to I9, computed from ledger, history, database and process list after everything has settled.

I1 every accepted submission ends, once, and nothing else exists. I2 a final status changes only by an operator's verb,
every move is a legal one, and a task succeeds once. I3 every start of an actor has an attempt row, and failures and
crashes stay within their limits. I4 two attempts of a task overlap only after the first one's worker lost its lease,
and the loser's outcome is not accepted. I5 everything is final without an operator's help. I7 nothing starts before its
``run_at``. I8 a DEAD task that nobody discarded has exactly one open dead letter. I9 nothing is left behind.
I6 (one task per schedule and time) has nothing to look at as long as there are no schedules.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tasks.states import FINAL, AttemptOutcome, Resolution, Status
from tests.acceptance.harness.database import AttemptRow, Move, Snapshot, TaskRow, WorkerRow
from tests.acceptance.harness.history import History
from tests.acceptance.harness.ledger import Entry

#: The rules of tasks.lifecycle, written a second time on purpose.
LEGAL_MOVES: dict[str | None, frozenset[str]] = {
    None: frozenset({Status.PENDING, Status.BLOCKED}),
    Status.BLOCKED: frozenset({Status.PENDING, Status.CANCELLED, Status.DEAD}),
    Status.PENDING: frozenset({Status.QUEUED, Status.CANCELLED, Status.DEAD}),
    Status.QUEUED: frozenset({Status.RUNNING, Status.PENDING, Status.CANCELLED, Status.DEAD}),
    Status.RUNNING: frozenset({Status.SUCCEEDED, Status.RETRYING, Status.DEAD, Status.PENDING, Status.CANCELLED}),
    Status.RETRYING: frozenset({Status.QUEUED, Status.CANCELLED, Status.DEAD}),
    Status.SUCCEEDED: frozenset(),
    Status.DEAD: frozenset({Status.PENDING, Status.BLOCKED}),
    Status.CANCELLED: frozenset({Status.PENDING, Status.BLOCKED}),
}
SECOND_LIFE = frozenset({"retry", "redrive"})
#: The database and the actors read the same clock, at different moments.
CLOCK_TOLERANCE_SECONDS = 0.002
#: Error type of a task that was taken from a living worker, because it resisted its time limit.
_STUCK = "Stuck"


@dataclass(frozen=True)
class Evidence:
    """What is known about one test, after everything has settled and stopped."""

    history: History
    ledger: Sequence[Entry]
    rows: Snapshot
    #: Sentences about leftover processes and hints, and wrong exit codes.
    residue: Sequence[str] = ()
    crash_limit: int = 3
    _by_task: dict[str, list[Entry]] = field(init=False, default_factory=lambda: defaultdict(list), repr=False)
    _rows: dict[tuple[str, int], AttemptRow] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for entry in self.ledger:
            self._by_task[entry.task].append(entry)
        self._rows.update({(row.task, row.number): row for row in self.rows.attempts})

    def entries(self, task: str, event: str) -> list[Entry]:
        """List one task's entries of one kind."""
        return [entry for entry in self._by_task[task] if entry.event == event]

    def attempt(self, task: str, number: int) -> AttemptRow | None:
        """Find the row of one attempt."""
        return self._rows.get((task, number))

    def of_attempt(self, task: str, attempt: int) -> list[Entry]:
        """List the entries of one attempt."""
        return [entry for entry in self._by_task[task] if entry.attempt == attempt]


def violations(evidence: Evidence) -> list[str]:
    """List every violation as a sentence that begins with its invariant."""
    checks = (
        _every_submission_ends,
        _only_legal_moves,
        _one_success,
        _every_start_has_an_attempt,
        _limits_hold,
        _no_overlap_within_a_lease,
        _no_help_was_needed,
        _nothing_starts_early,
        _dead_letters_match,
        _nothing_is_left,
    )
    return [sentence for check in checks for sentence in check(evidence)]


def _every_submission_ends(evidence: Evidence) -> Iterator[str]:
    tasks = {task.id: task for task in evidence.rows.tasks}
    by_tag = Counter(tag for task in evidence.rows.tasks for tag in task.tags)
    for one in evidence.history.submissions:
        expected = {"ok": {one.count}, "failed": {0}, "unknown": {0, one.count}}[one.answer]
        if one.is_counted and by_tag[one.name] not in expected:
            yield (
                f"I1: {one.name} of {one.count} tasks was answered {one.answer!r}, and {by_tag[one.name]} of them exist"
            )
    for id in evidence.history.accepted:
        if id not in tasks:
            yield f"I1: task {id} was accepted and does not exist"
        elif tasks[id].status not in FINAL:
            yield f"I1: task {id} was accepted and is {tasks[id].status}"
    names = {one.name for one in evidence.history.submissions}
    for task in evidence.rows.tasks:
        if not names.intersection(task.tags):
            yield f"I1: task {task.id} exists and nobody submitted it"


def _only_legal_moves(evidence: Evidence) -> Iterator[str]:
    lives = Counter(event.task for event in evidence.rows.events if event.verb in SECOND_LIFE)
    for task, moves in _moves(evidence).items():
        for move in moves:
            if move.after not in LEGAL_MOVES[move.before]:
                yield f"I2: task {task} went from {move.before} to {move.after}"
        for earlier, later in pairwise(moves):
            if later.before != earlier.after:
                yield f"I2: task {task} was {earlier.after} and then left {later.before}"
            if later.dispatch < earlier.dispatch or later.attempt < earlier.attempt:
                yield f"I2: task {task} has numbers that went back at its move to {later.after}"
        # A child that its parent's second life brings back is blocked again, and nobody asks for it by name.
        left = sum(move.before in FINAL and move.after != Status.BLOCKED for move in moves)
        if left > lives[task]:
            yield f"I2: task {task} left a final status {left} times, an operator asked for it {lives[task]} times"


def _one_success(evidence: Evidence) -> Iterator[str]:
    attempts = _attempts(evidence)
    for task in evidence.rows.tasks:
        rows = attempts[task.id]
        successes = [row.number for row in rows if row.outcome == AttemptOutcome.SUCCEEDED]
        expected = 1 if task.status == Status.SUCCEEDED else 0
        if len(successes) != expected:
            yield f"I2: task {task.id} is {task.status} and has {len(successes)} successful attempts"
        started = [entry.attempt for entry in evidence.entries(task.id, "START")]
        after = [number for number in (*started, *(row.number for row in rows)) if successes and number > successes[0]]
        if after:
            yield f"I2: task {task.id} succeeded in attempt {successes[0]} and went on with attempt {after[0]}"


def _every_start_has_an_attempt(evidence: Evidence) -> Iterator[str]:
    known = {(row.task, row.number) for row in evidence.rows.attempts}
    starts = Counter((entry.task, entry.attempt) for entry in evidence.ledger if entry.event == "START")
    for (task, attempt), count in starts.items():
        if (task, attempt) not in known:
            yield f"I3: attempt {attempt} of task {task} started and has no row"
        if count > 1:
            yield f"I3: attempt {attempt} of task {task} started {count} times"


def _limits_hold(evidence: Evidence) -> Iterator[str]:
    attempts = _attempts(evidence)
    lives = Counter(event.task for event in evidence.rows.events if event.verb in SECOND_LIFE)
    for task in evidence.rows.tasks:
        if task.max_retries is not None and task.failures > task.max_retries + 1:
            yield f"I3: task {task.id} failed {task.failures} times, allowed are {task.max_retries + 1}"
        crashed = sum(row.outcome == AttemptOutcome.CRASHED for row in attempts[task.id])
        if crashed > evidence.crash_limit * (1 + lives[task.id]):
            yield f"I3: task {task.id} crashed {crashed} times, the limit is {evidence.crash_limit}"


def _no_overlap_within_a_lease(evidence: Evidence) -> Iterator[str]:
    workers = {worker.id: worker for worker in evidence.rows.workers}
    attempts = {(row.task, row.number): row for row in evidence.rows.attempts}
    for task in evidence.rows.tasks:
        starts = sorted(evidence.entries(task.id, "START"), key=lambda entry: entry.attempt)
        for first, second in pairwise(starts):
            life = evidence.of_attempt(task.id, first.attempt)
            if max(entry.monotonic for entry in life) <= second.monotonic:
                continue
            row = attempts.get((task.id, first.attempt))
            if row is None:
                continue  # I3 reports it
            if row.outcome != AttemptOutcome.LOST and row.error_type != _STUCK:
                yield (
                    f"I4: attempt {first.attempt} of task {task.id} ran beside attempt {second.attempt} "
                    f"and its outcome {row.outcome} was accepted"
                )
            elif row.error_type != _STUCK and not _had_lost_lease(workers.get(row.worker), second.wall):
                yield (
                    f"I4: attempt {second.attempt} of task {task.id} started while attempt {first.attempt} ran "
                    f"and its worker {row.worker} still had its lease"
                )


def _had_lost_lease(worker: WorkerRow | None, wall: float) -> bool:
    if worker is None or worker.stopped_at is None:
        return False
    expired_at, declared_at = worker.lease_expires_at.timestamp(), worker.stopped_at.timestamp()
    return expired_at <= declared_at <= wall + CLOCK_TOLERANCE_SECONDS


def _no_help_was_needed(evidence: Evidence) -> Iterator[str]:
    asked = Counter(evidence.history.second_lives)
    given = Counter(event.task for event in evidence.rows.events if event.verb in SECOND_LIFE)
    for task in given.keys() | asked.keys():
        if given[task] != asked[task]:
            yield f"I5: task {task} got {given[task]} second lives, the client asked for {asked[task]}"
    for task_row in evidence.rows.tasks:
        if task_row.status not in FINAL:
            yield f"I5: task {task_row.id} ({task_row.actor}) is still {task_row.status}"


def _nothing_starts_early(evidence: Evidence) -> Iterator[str]:
    claims = {(move.task, move.attempt): move.run_at for move in evidence.rows.move_log if move.after == Status.RUNNING}
    for entry in evidence.ledger:
        if entry.event != "START":
            continue
        run_at = claims.get((entry.task, entry.attempt))
        if run_at is None:
            yield f"I7: attempt {entry.attempt} of task {entry.task} started and was never claimed"
        elif entry.wall < run_at.timestamp() - CLOCK_TOLERANCE_SECONDS:
            early = run_at.timestamp() - entry.wall
            yield f"I7: attempt {entry.attempt} of task {entry.task} started {early:.3f} s before its run_at"


def _dead_letters_match(evidence: Evidence) -> Iterator[str]:
    open_letters = Counter(letter.task for letter in evidence.rows.letters if letter.resolution == Resolution.OPEN)
    discarded = {letter.task for letter in evidence.rows.letters if letter.resolution == Resolution.DISCARDED}
    tasks = {task.id: task for task in evidence.rows.tasks}
    for id, task in tasks.items():
        expected = int(task.status == Status.DEAD and id not in discarded)
        if open_letters[id] != expected:
            yield f"I8: task {id} is {task.status} and has {open_letters[id]} open dead letters, expected {expected}"
    for id in open_letters.keys() - tasks.keys():
        yield f"I8: an open dead letter names task {id}, which does not exist"


def _nothing_is_left(evidence: Evidence) -> Iterator[str]:
    for worker in evidence.rows.workers:
        if worker.status != "GONE":
            yield f"I9: worker {worker.id} (pid {worker.pid}) has ended and is still {worker.status}"
    for sentence in evidence.residue:
        yield f"I9: {sentence}"


def _moves(evidence: Evidence) -> dict[str, list[Move]]:
    moves: dict[str, list[Move]] = defaultdict(list)
    for move in evidence.rows.move_log:
        moves[move.task].append(move)
    return moves


def _attempts(evidence: Evidence) -> dict[str, list[AttemptRow]]:
    attempts: dict[str, list[AttemptRow]] = defaultdict(list)
    for row in evidence.rows.attempts:
        attempts[row.task].append(row)
    return attempts


__all__ = ["Evidence", "TaskRow", "violations"]
