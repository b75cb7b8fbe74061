"""The previous release must keep working after a migration: see docs/guarantees.md, "Between versions"."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import models
from django.db.migrations import operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models import NOT_PROVIDED

#: The migration of a fresh installation; no release ran before it.
BASELINE = "0001_initial"
#: Operations that old code does not notice: new tables, wider columns, and changes without a column.
HARMLESS = (
    operations.CreateModel,
    operations.AddIndex,
    operations.RemoveIndex,
    operations.RenameIndex,
    operations.RemoveConstraint,
    operations.AlterModelOptions,
    operations.AlterModelManagers,
    operations.RunPython,
)
#: Operations that a person has approved, with the reason: ``"app.name": "no release uses the column since 1.4"``.
JUDGED: dict[str, str] = {
    "callboard.0009_unique": "a partial unique index on a new column that old code leaves NULL, built concurrently",
    "callboard.0004_journal": "a view takes the place of the table of events (tests/db/test_journal_migration.py)",
    "callboard.0012_fires": "an index, and the choices of a column, which are not in the database",
    "callboard.0014_tasks_of_batches": "an index, and the choices of a column, which are not in the database",
    "callboard.0015_grpc_door": "only the choices of a column, so there is no SQL",
    "callboard.0030_task_stats": "a new table, and how full its pages get",
    "callboard.0020_journal_of_operations": "only the choices of a column, so there is no SQL",
    "callboard.0032_children_of_batches": "columns with defaults, an index, and the help of a column",
    "callboard.0033_builds": "columns with defaults, and the choices of a column, which are not in the database",
    "dlq.0002_gave_up": "only the label of a choice changes, so there is no SQL",
}


def breaks(operation: Operation) -> str:
    """Say how an operation breaks the previous release; '' if it does not."""
    if isinstance(operation, HARMLESS):
        return ""
    if isinstance(operation, operations.AddField):
        return _breaks_inserts(operation.field)
    return f"{type(operation).__name__} changes what old code relies on"


def _breaks_inserts(field: Any) -> str:
    if field.null or field.many_to_many or field.db_default is not NOT_PROVIDED:
        return ""
    return f"old code inserts rows without {field}: give it a db_default, or null=True"


def later_operations() -> Iterator[Any]:
    loader = MigrationLoader(None)
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        if app in ("callboard", "dlq") and name != BASELINE and f"{app}.{name}" not in JUDGED:
            for number, operation in enumerate(migration.operations):
                yield pytest.param(operation, id=f"{app}.{name}-{number}")


@pytest.mark.parametrize("operation", list(later_operations()))
def test_the_release_before_works_on(operation: Operation) -> None:
    assert breaks(operation) == ""


@pytest.mark.parametrize(
    ("operation", "is_safe"),
    [
        (operations.AddField("task", "new", models.IntegerField(null=True)), True),
        (operations.AddField("task", "new", models.IntegerField(db_default=0)), True),
        (operations.AddField("task", "new", models.IntegerField(default=0)), False),
        (operations.RemoveField("task", "error"), False),
        (operations.RenameField("task", "error", "failure"), False),
        (operations.AlterField("task", "error", models.TextField(null=True)), False),
        (operations.DeleteModel("task"), False),
        (operations.RunSQL("ALTER TABLE callboard_task DROP COLUMN error"), False),
        (operations.AddIndex("task", models.Index("id", name="new")), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Operation) else str(value),
)
def test_the_rule_finds_what_it_should(operation: Operation, is_safe: bool) -> None:
    assert (breaks(operation) == "") == is_safe
