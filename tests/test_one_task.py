"""One task's life, from POST to SUCCEEDED, stays a short and straight way through the product.

Everything runs in this process: the API, a scheduler and a worker. A trace function notes each line of product code
that runs. What also runs while there is nothing to do (loops that look, heartbeats) is traced first and left out.
"""

import ast
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

import dlq
import tasks
from tasks import signals
from tasks.broker.notifier import notifier
from tasks.lifecycle import transitioned
from tasks.models import Attempt
from tasks.scheduler import cursors
from tasks.telemetry import task_stats
from tests.waiting import wait_until

#: The folders of ``tasks`` and ``dlq``.
PRODUCT = tuple(f"{Path(package.__file__ or '').parent}/" for package in (tasks, dlq))
ROOT = Path(tasks.__file__ or "").parent.parent
#: The rooms in which threads live. Code of all other rooms is called by these.
THREADED = {"api", "scheduler", "worker"}

VERBS = {"submit", "dispatch", "claim", "complete"}

#: Bounds on what runs for the task alone. A change that needs more has to say why in docs/decisions.md.
MOST_LINES, MOST_FILES = 997, 79


class Line(NamedTuple):
    """A line of product code."""

    file: str
    number: int

    @property
    def room(self) -> str:
        """The folder in ``tasks``, or the file beside them."""
        parts = Path(self.file).relative_to(ROOT).parts
        return parts[1] if len(parts) > 2 else parts[-1]


#: In Python 3.11, two threads that parse at the same time get a SystemError.
_parsing = threading.Lock()


@cache
def statements_of(file: str) -> dict[int, int]:
    """Map each line of a file to the first line of its statement: one that is spread over lines counts once."""
    found: dict[int, int] = {}
    with _parsing:
        tree = ast.parse(Path(file).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            found.update(dict.fromkeys(range(node.lineno, last + 1), node.lineno))
    return found


class Trace:
    """The lines that ran while it was on, in the order in which they ran first, each with its thread."""

    def __init__(self) -> None:
        self.is_on = False
        self.lines: dict[Line, str] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        return self._note if frame.f_code.co_filename.startswith(PRODUCT) else None

    def _note(self, frame: FrameType, event: str, _: Any) -> Any:
        if self.is_on and event == "line":
            name = frame.f_code.co_filename
            line = Line(name, statements_of(name).get(frame.f_lineno, frame.f_lineno))
            self.lines.setdefault(line, threading.current_thread().name)
        return self._note

    def take(self) -> dict[Line, str]:
        """Give what was noted and begin anew."""
        taken, self.lines = self.lines, {}
        return taken


@pytest.fixture
def trace() -> Iterator[Trace]:
    tracer, before = Trace(), sys.gettrace()
    threading.settrace(tracer)
    sys.settrace(tracer)
    yield tracer
    sys.settrace(before)
    threading.settrace(before)


@pytest.fixture
def _nobody_listens() -> Iterator[None]:
    """Undo what an example in the documentation did, which this process may have run before."""
    was_connected = transitioned.disconnect(signals._relay)
    yield
    if was_connected:
        transitioned.connect(signals._relay)


@pytest.fixture
def own_lines(trace: Trace, idle_engine: Any, alice: Any, monkeypatch: Any, _nobody_listens: None) -> dict[Line, str]:
    """Run a task three times and give the lines that ran for it alone each time."""
    # Or the idle time would have none, if they end at its beginning, and the look at them would count for the task.
    monkeypatch.setattr(cursors, "CURSOR_SECONDS", cursors.LONGEST_CURSOR_SECONDS)
    idle_engine.start_scheduler()
    # Wake-ups go through PostgreSQL, as between processes.
    notifier.local = None
    task_stats.connect()
    idle_engine.start_worker(threads=1)

    def run_one() -> None:
        attempts = Attempt.objects.count()
        assert alice.submit(payload={"do": "return"}).status_code == 201
        wait_until(lambda: Attempt.objects.count() > attempts and not idle_engine.runtime.inflight.keys)
        # The completer goes on for a moment after its commit; that would count for the next task.
        wait_until(lambda: _is_at_rest(trace))

    # Twice, so that caches are filled and statements are prepared.
    for _ in range(2):
        run_one()
    trace.is_on = True
    time.sleep(1.5)
    idle = trace.take()
    ways = []
    for _ in range(3):
        run_one()
        ways.append({line: thread for line, thread in trace.take().items() if line not in idle})
    trace.is_on = False
    task_stats.disconnect()
    idle_engine.stop_worker()
    idle_engine.scheduler.stop()
    # A loop that looks in between, or a wake-up that comes twice, is not the task's.
    return {line: thread for line, thread in ways[0].items() if all(line in way for way in ways)}


def _is_at_rest(trace: Trace) -> bool:
    before = len(trace.lines)
    time.sleep(0.1)
    return len(trace.lines) == before


def by_file(lines: dict[Line, str]) -> str:
    counts = Counter(str(Path(line.file).relative_to(ROOT)) for line in lines)
    return "\n".join(f"{count:5} {name}" for name, count in sorted(counts.items()))


def test_one_task_takes_a_short_and_straight_way(own_lines) -> None:
    files = {line.file for line in own_lines}
    sums = f"{len(own_lines)} lines in {len(files)} files:\n{by_file(own_lines)}"
    assert len(own_lines) <= MOST_LINES, sums
    assert len(files) <= MOST_FILES, sums
    # No thread runs code of two of these rooms, and the verbs run in the order of a task's life, each in its room.
    rooms: dict[str, set[str]] = {}
    for line, thread in own_lines.items():
        rooms.setdefault(thread, set()).update({line.room}.intersection(THREADED))
    assert all(len(found) <= 1 for found in rooms.values()), rooms
    verbs = {Path(line.file).stem: rooms[thread] for line, thread in own_lines.items() if line.room == "lifecycle"}
    way = [(verb, room) for verb, found in verbs.items() for room in found if verb in VERBS]
    assert way == [("submit", "api"), ("dispatch", "scheduler"), ("claim", "worker"), ("complete", "worker")]
