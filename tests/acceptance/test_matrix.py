"""The fault matrix: every row has a test. A test file names its row: ``FAULT = "F8"``."""

import ast
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]

ROWS = {
    "F1": "kill -9 of worker, supervisor, scheduler",
    "F2": "kill -9, and a lost connection, at exact points",
    "F3": "a worker paused past its lease",
    "F4": "SIGTERM once, twice, with tasks that outlast the grace period",
    "F5": "Redis restarted, emptied, away",
    "F6": "Redis frozen, read-only, out of memory, closing connections",
    "F7": "replies lost or late, and half-open connections",
    "F8": "PostgreSQL restarted, sessions ended, no connection left, a locked table",
    "F9": "PostgreSQL frozen for twice a lease",
    "F10": "leader killed, paused past its lease, two leaders",
    "F11": "clocks that jump",
    "F12": "hints that are duplicate, stale, forged, foreign",
    "F13": "poison: crashes, memory, loops in C",
    "F14": "outcomes that cannot be written",
    "F15": "RabbitMQ killed, emptied, frozen, out of memory, closing connections",
    "F16": "operators who race claims, completions and sweeps",
    "F17": "rolling deploys: an actor, or a schema, that one side does not know",
    "F18": "50,000 tasks due at once",
    "F19": "identical submissions at once and again",
    "F20": "locks that are never released, interrupts that are swallowed, a log pipe without a reader",
    "F21": "the interpreter held for longer than a lease, again and again",
    "F22": "odd ends: exit codes, a stopped event loop, exceptions that raise",
    "F23": "leaked transactions, cut sessions of async actors",
    "F24": "a row lock on a running task for longer than stuck",
    "F25": "a table locked for up to five minutes",
    "F26": "workers that drain or retire under load",
    "F27": "tasks that a crash hit, beside fresh work and a poison task",
    "F28": "SIGHUP to a supervisor, processes forked by actors",
}
#: Rows of which `make test` runs something.
FAST = frozenset(
    {"F1", "F2", "F3", "F4", "F5", "F8", "F10", "F12", "F16", "F19", "F20", "F22", "F23", "F24", "F25", "F28"}
)
NOT_RUN: dict[str, str] = {}


def found() -> dict[str, dict[str, bool]]:
    """Find each row's tests: file and name, and whether it is slow."""
    rows: dict[str, dict[str, bool]] = defaultdict(dict)
    for path in sorted(TESTS.rglob("test_*.py")):
        module = ast.parse(path.read_text())
        named = {target.id: node.value for node in module.body if isinstance(node, ast.Assign)
                 for target in node.targets if isinstance(target, ast.Name)}  # fmt: skip
        if "FAULT" not in named:
            continue
        is_slow = "pytestmark" in named and "slow" in ast.unparse(named["pytestmark"])
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                name = f"{path.relative_to(TESTS)}::{node.name}"
                marks = map(ast.unparse, node.decorator_list)
                rows[ast.literal_eval(named["FAULT"])][name] = is_slow or "pytest.mark.slow" in marks
    return rows


def described(row: str, tests: dict[str, bool]) -> str:
    """Describe in one line what runs for a row, or why nothing runs."""
    if row in NOT_RUN:
        return f"{row:<4}NOT RUN, {NOT_RUN[row]}: {ROWS[row]}"
    files = Counter(name.partition("::")[0] for name in tests)
    slow = f", {sum(tests.values())} of them slow" if any(tests.values()) else ""
    return f"{row:<4}{len(tests)} tests{slow}: {ROWS[row]} ({', '.join(files)})"


def test_every_row_that_one_machine_can_run_has_a_test(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = found()
    terminal: Any = request.config.pluginmanager.get_plugin("terminalreporter")
    with capsys.disabled():
        terminal.ensure_newline()
        for row in ROWS:
            terminal.write_line(described(row, rows[row]))
    assert {row for row in ROWS if rows[row]} == ROWS.keys() - NOT_RUN.keys()
    assert rows.keys() <= ROWS.keys(), "a FAULT that is not a row"
    assert {row for row in ROWS if not all(rows[row].values())} >= FAST
