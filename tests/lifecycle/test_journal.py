"""The journal: each verb records who did it, through which door and why, once; what changes nothing is not recorded."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from tasks import lifecycle
from tasks.errors import CallboardError
from tasks.lifecycle import Author, queues, tokens, workers
from tasks.lifecycle.journal import record, summarise
from tasks.models import ApiToken, Journal, Queue, Task, Worker, new_id
from tasks.states import Door, ObjectKind, Status
from tests.factories import make_lead, make_task, make_worker, open_letter, submit

pytestmark = pytest.mark.django_db

ADA = Author("ada", Door.API, "as agreed")


class Act(NamedTuple):
    """A verb on one row: how it is called, and what its entry says of the row."""

    verb: str
    kind: ObjectKind
    row: Callable[[], Any]
    call: Callable[[Any, Author], object]
    task: Callable[[Any], Any] = lambda _: None
    recorded_as: str = ""


def _letter() -> Any:
    return open_letter(make_task(Status.DEAD))


def _discarded() -> Any:
    letter = _letter()
    lifecycle.discard(letter.pk)
    return letter


def _paused() -> Queue:
    queues.pause("default")
    return Queue.objects.get(pk="default")


def _token() -> ApiToken:
    return ApiToken.issue(user=User.objects.create_user("tom"), name="laptop")[0]


def _renamed(token: ApiToken, by: Author) -> None:
    token.name = "phone"
    tokens.edit(token, ["name"], by=by)


TASK, LETTER = ObjectKind.TASK, ObjectKind.DEAD_LETTER
ACTS = [
    Act("cancel", TASK, submit, lambda row, by: lifecycle.cancel(row.pk, by=by), lambda row: row),
    Act("edit", TASK, submit, lambda row, by: lifecycle.edit(row.pk, {"priority": 9}, by=by), lambda row: row),
    Act("delete", TASK, submit, lambda row, by: lifecycle.delete(row.pk, by=by), lambda row: row),
    Act("retry", TASK, lambda: make_task(Status.RETRYING), lambda row, by: lifecycle.retry(row.pk, by=by), lambda r: r),
    Act("redrive", LETTER, _letter, lambda row, by: lifecycle.redrive(row.pk, by=by), lambda row: row.task),
    Act("redrive", LETTER, _letter, lambda row, by: lifecycle.retry(row.task_id, by=by), lambda row: row.task),
    Act("discard", LETTER, _letter, lambda row, by: lifecycle.discard(row.pk, by=by), lambda row: row.task),
    Act("restore", LETTER, _discarded, lambda row, by: lifecycle.restore(row.pk, by=by), lambda row: row.task),
    Act("pause", ObjectKind.QUEUE, lambda: Queue.objects.get(pk="default"), lambda r, by: queues.pause(r.pk, by=by)),
    Act("resume", ObjectKind.QUEUE, _paused, lambda row, by: queues.resume(row.pk, by=by)),
    Act("drain", ObjectKind.WORKER, make_worker, lambda row, by: workers.ask_to_drain([row.pk], by=by)),
    Act("edit", ObjectKind.TOKEN, _token, _renamed),
    Act("revoke", ObjectKind.TOKEN, _token, lambda row, by: tokens.revoke_many([row.pk], by=by)),
]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: f"{act.verb} {act.kind}")
def test_a_verb_is_recorded_once(act: Act, worker: Worker) -> None:
    row = act.row()
    task = act.task(row)
    Journal.objects.all().delete()
    act.call(row, ADA)
    entry = Journal.objects.get()
    assert (entry.by, entry.door, entry.reason) == ("ada", Door.API, "as agreed")
    assert (entry.verb, entry.kind, entry.object_id) == (act.verb, act.kind, str(row.pk))
    assert (entry.operation_id, entry.count) == (None, None)
    assert entry.task_id == (task.pk if task else None)
    if task is not None:
        assert (entry.actor, entry.queue) == (task.actor, task.queue)
    names = {ObjectKind.WORKER: str(worker), ObjectKind.TOKEN: "phone" if act.verb == "edit" else "laptop"}
    assert entry.object_name == names.get(act.kind, "")


@pytest.mark.parametrize(
    "act", [act for act in ACTS if (act.verb, act.kind) not in {("edit", TASK), ("edit", ObjectKind.TOKEN)}],
    ids=lambda act: f"{act.verb} {act.kind}",
)  # fmt: skip
def test_a_verb_that_changes_nothing_is_not_recorded(act: Act, worker: Worker) -> None:
    row = act.row()
    act.call(row, ADA)
    Journal.objects.all().delete()
    if act.verb == "retry":
        Task.objects.filter(pk=row.pk).update(status=Status.PENDING)
    with suppress(CallboardError):
        act.call(row, ADA)
    assert not Journal.objects.exists()


def test_an_edit_of_a_token_without_a_change_is_not_recorded() -> None:
    tokens.edit(_token(), [], by=ADA)
    assert not Journal.objects.exists()


def test_an_issued_token_is_recorded_without_its_secret() -> None:
    token, secret = tokens.issue(user=User.objects.create_user("tom"), name="laptop", scopes=["read"], by=ADA)
    entry = Journal.objects.get()
    assert (entry.verb, entry.kind, entry.object_id, entry.object_name) == ("issue", "token", str(token.pk), "laptop")
    assert entry.detail == {"user": "tom", "scopes": ["read"]}
    assert secret not in str(Journal.objects.values_list())


def test_code_that_does_not_say_who_it_is_is_recorded_as_code() -> None:
    lifecycle.cancel(submit().pk)
    assert list(Journal.objects.values_list("by", "door", "reason")) == [("", Door.CODE, "")]


def test_a_repair_is_recorded_as_the_schedulers() -> None:
    letter = _letter()
    Journal.objects.all().delete()
    assert lifecycle.discard_old(keep_seconds=0, batch=10, **make_lead()) == 1
    entry = Journal.objects.get()
    assert (entry.verb, entry.by, entry.door, entry.object_id) == ("discard", "", Door.SCHEDULER, str(letter.pk))


def test_the_entry_is_rolled_back_with_the_verb() -> None:
    before = transaction.savepoint()
    lifecycle.cancel(submit().pk, by=ADA)
    transaction.savepoint_rollback(before)
    assert not Journal.objects.exists()


def test_an_act_on_many_is_recorded_by_row_and_summed_up() -> None:
    by = Author("ada", Door.ADMIN, "cleaning", operation_id=new_id())
    tasks = [submit(), submit(), make_task(Status.SUCCEEDED)]
    lifecycle.cancel_many([task.pk for task in tasks], by=by)
    summarise(by, "cancel", TASK)
    summary = Journal.objects.acts().get()
    assert (summary.count, summary.object_id, summary.verb, summary.reason) == (2, "", "cancel", "cleaning")
    assert Journal.objects.of_operation(by.operation_id).count() == 3  # type: ignore[arg-type]
    assert {entry.task_id for entry in Journal.objects.exclude(pk=summary.pk)} == {task.pk for task in tasks[:2]}


def test_an_act_on_many_that_changed_nothing_is_not_summed_up() -> None:
    summarise(Author("ada", Door.ADMIN, operation_id=new_id()), "cancel", TASK)
    assert not Journal.objects.exists()


def test_recording_costs_no_statement_of_its_own(worker: Worker) -> None:
    ids = [submit().pk for _ in range(5)]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        lifecycle.cancel_many(ids, by=ADA)
    written = [query["sql"] for query in queries if "callboard_" in query["sql"]]
    assert len(written) == 2, "the locks, and the verb"
    assert Journal.objects.count() == 5


def test_what_was_done_to_an_object_is_found_by_its_id() -> None:
    task, letter = submit(), _letter()
    Journal.objects.all().delete()
    lifecycle.cancel(task.pk, by=ADA)
    lifecycle.discard(letter.pk, by=ADA)
    queues.pause("default", by=ADA)
    record(ADA, "edit", ObjectKind.TOKEN, "7", name="laptop")
    for text, verb in (
        (str(task.pk), "cancel"), (task.pk.hex.upper(), "cancel"), (str(letter.pk), "discard"),
        (str(letter.task_id), "discard"), ("default", "pause"), ("7", "edit"),
    ):  # fmt: skip
        assert [entry.verb for entry in Journal.objects.found_by(text)] == [verb]
    assert not Journal.objects.found_by(str(uuid4())).exists()
    assert [entry.verb for entry in letter.task.events.all()] == ["discard"]
