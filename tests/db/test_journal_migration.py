"""The journal begins with the events of tasks and with the admin's log of Callboard's own pages."""

from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from dlq.models import DeadLetter
from tasks.models import ApiToken, Journal, Queue, Task, Worker, new_id
from tasks.states import Status
from tests import factories

pytestmark = pytest.mark.django_db

migration = import_module("tasks.migrations.0004_journal")
_AT = datetime(2030, 1, 31, 9, tzinfo=UTC)


@pytest.fixture
def before() -> Any:
    """Give the models as they were, with the table of events in place of its view."""
    state = MigrationLoader(connection).project_state([("callboard", "0002_groups")]).apps
    Journal.objects.all().delete()
    with connection.schema_editor() as editor:
        migration.put_back(state, editor)
    return state


def migrate() -> None:
    with connection.schema_editor() as editor:
        migration.copy(apps, editor)


def event(before: Any, task_id: Any, verb: str, by: str, *, minutes: float, **detail: Any) -> None:
    at = _AT + timedelta(minutes=minutes)
    before.get_model("callboard", "TaskEvent").objects.create(task_id=task_id, verb=verb, by=by, at=at, detail=detail)


def logged(row: Any, message: str, *, minutes: float, user: User, flag: int = CHANGE, name: str = "x") -> None:
    kind = ContentType.objects.get_for_model(row if isinstance(row, type) else type(row))
    pk = None if isinstance(row, type) else str(row.pk)
    entry = LogEntry.objects.create(
        user=user, content_type=kind, object_id=pk, object_repr=name, action_flag=flag, change_message=message
    )
    LogEntry.objects.filter(pk=entry.pk).update(action_time=_AT + timedelta(minutes=minutes))


def test_an_act_in_the_admin_is_one_entry_with_its_reason(before: Any, worker: Worker) -> None:
    olga = User.objects.create_user("olga")
    cancelled, dead = factories.submit(), factories.make_task(Status.DEAD, worker=worker)
    letter = factories.open_letter(dead)
    gone = new_id()
    event(before, gone, "delete", "alice", minutes=1, status="PENDING")
    event(before, cancelled.pk, "cancel", "olga", minutes=2, status="CANCELLED")
    logged(cancelled, "Cancel: too late: for good", minutes=2.01, user=olga)
    event(before, dead.pk, "redrive", "olga", minutes=3, status="DEAD")
    logged(letter, "Re-drive.", minutes=3.01, user=olga)
    event(before, dead.pk, "cancel", "cli:root", minutes=4)
    event(before, dead.pk, "discard", "", minutes=5)
    migrate()
    columns = ("verb", "by", "door", "reason", "kind", "object_id", "task_id", "actor", "queue", "detail")
    assert list(Journal.objects.values_list(*columns)) == [
        ("delete", "alice", "", "", "task", str(gone), gone, "", "", {"status": "PENDING"}),
        (
            *("cancel", "olga", "admin", "too late: for good", "task", str(cancelled.pk), cancelled.pk, "act"),
            *("default", {"status": "CANCELLED"}),
        ),
        (
            *("redrive", "olga", "admin", "", "dead_letter", str(letter.pk), dead.pk, "act", "default"),
            {"status": "DEAD"},
        ),
        ("cancel", "cli:root", "cli", "", "task", str(dead.pk), dead.pk, "act", "default", {}),
        ("discard", "", "scheduler", "", "task", str(dead.pk), dead.pk, "act", "default", {}),
    ]
    assert LogEntry.objects.count() == 2, "Django's own log stays"


def test_the_log_of_other_rows_and_of_many_is_read(before: Any, worker: Worker) -> None:
    olga = User.objects.create_user("olga")
    queue, token = Queue.objects.get(pk="default"), ApiToken.issue(user=olga, name="laptop")[0]
    logged(token, '[{"added": {}}]', minutes=1, user=olga, flag=ADDITION, name="laptop")
    logged(token, '[{"changed": {"fields": ["Name"]}}]', minutes=2, user=olga, name="laptop")
    logged(queue, "Pause: too hot", minutes=3, user=olga)
    logged(queue, "Resume.", minutes=4, user=olga)
    logged(worker, "Drain: deploy", minutes=5, user=olga, name="host:1")
    logged(token, "Revoke.", minutes=6, user=olga, name="laptop")
    logged(Task, "1,234 tasks cancelled: cleaning", minutes=7, user=olga, name="1,234 tasks")
    logged(Task, "2 tasks set to run again.", minutes=8, user=olga, name="2 tasks")
    logged(DeadLetter, "3 dead letters re-driven: fixed", minutes=9, user=olga, name="3 dead letters")
    logged(olga, "[]", minutes=10, user=olga, name="olga")
    migrate()
    columns = ("verb", "door", "reason", "kind", "object_id", "object_name", "count")
    assert list(Journal.objects.values_list(*columns)) == [
        ("issue", "admin", "", "token", str(token.pk), "laptop", None),
        ("edit", "admin", "", "token", str(token.pk), "laptop", None),
        ("pause", "admin", "too hot", "queue", "default", "", None),
        ("resume", "admin", "", "queue", "default", "", None),
        ("drain", "admin", "deploy", "worker", str(worker.pk), "host:1", None),
        ("revoke", "admin", "", "token", str(token.pk), "laptop", None),
        ("cancel", "admin", "cleaning", "task", "", "", 1234),
        ("retry", "admin", "", "task", "", "", 2),
        ("redrive", "admin", "fixed", "dead_letter", "", "", 3),
    ]


def test_the_release_before_still_writes_reads_and_prunes_its_events() -> None:
    task = factories.submit()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO callboard_taskevent (task_id, verb, by, detail) SELECT %s, 'cancel', 'ann', '{}'", [task.pk]
        )
        entry = task.events.get()
        assert (entry.verb, entry.by, entry.kind, entry.door) == ("cancel", "ann", "task", "")
        cursor.execute("SELECT verb, by, detail FROM callboard_taskevent WHERE task_id = %s", [task.pk])
        assert cursor.fetchall() == [("cancel", "ann", "{}")]
        cursor.execute(
            "WITH due AS (SELECT id FROM callboard_taskevent AS history FOR UPDATE OF history SKIP LOCKED)"
            " DELETE FROM callboard_taskevent AS history USING due WHERE history.id = due.id RETURNING history.id"
        )
        assert cursor.fetchall() == [(entry.pk,)]
