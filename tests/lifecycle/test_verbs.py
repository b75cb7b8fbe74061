"""A verb is a file, a test file and an arrow of the state diagram."""

import re
from pathlib import Path

from django.conf import settings

ROOT = Path(settings.BASE_DIR)
#: Files that move no task: a task has no status before it is submitted, and none after it is removed.
MOVE_NO_TASK = {
    "announcements",
    "barriers",
    "batch_steps",
    "batches",
    "checkpoint",
    "steps",
    "__init__",
    "circles",
    "deaths",
    "delete",
    "depend",
    "discard",
    "failures",
    "fire",
    "journal",
    "leases",
    "operation_steps",
    "operation_verbs",
    "operations",
    "predicates",
    "prune",
    "queues",
    "restore",
    "rows",
    "schedules",
    "signal",
    "stats",
    "tally",
    "tokens",
    "workers",
    "workflow",
}
#: ``rows`` has no verb; ``checkpoint`` and ``steps`` are tested as held writes, ``fire`` with the cron loop,
#: ``submit_once`` with the idempotency keys of the API, ``workflow`` with the API's workflows, ``depend`` with the
#: releases that it prepares, ``tally`` with the batches that it counts for, and ``operation_steps`` with operations.
WITHOUT_TEST_FILE = {
    "__init__", "barriers", "checkpoint", "steps", "depend", "fire", "operation_steps", "rows", "submit_once", "tally",
    "workflow",
}  # fmt: skip
ARROW = re.compile(r"^ +\S+ --> \S+: (\w+)", re.MULTILINE)

FILES = {path.stem for path in (ROOT / "tasks/lifecycle").glob("*.py")}


def test_each_file_has_a_test_file() -> None:
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests/lifecycle").glob("test_*.py")}
    assert FILES - tested == WITHOUT_TEST_FILE


def test_each_verb_that_moves_a_task_is_an_arrow_of_the_state_diagram_and_nothing_else_is() -> None:
    arrows = set(ARROW.findall((ROOT / "docs/state_machine.md").read_text()))
    assert arrows == FILES - MOVE_NO_TASK - {"submit_once", "submit_unique"}
