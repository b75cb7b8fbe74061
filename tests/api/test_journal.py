"""Acts through the API are in the journal with who, door and why, and the journal is listed to who may see it."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from tasks import lifecycle
from tasks.lifecycle import Author, queues
from tasks.models import ApiToken, Journal, Queue, Task, Worker
from tasks.states import Door, ObjectKind, Status
from tests import factories
from tests.callers import TASKS, Caller, assert_problem

JOURNAL = "/api/v1/journal"
CHANGE = {
    "payload": {"do": "return"}, "priority": 9, "queue": "default", "run_at": "2099-01-31T09:00:00Z", "max_retries": 3,
    "tags": [],
}  # fmt: skip
#: verb as recorded → method, address, fields beside the reason.
VERBS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cancel": ("post", f"{TASKS}/{{waiting}}/cancel", {}),
    "retry": ("post", f"{TASKS}/{{cancelled}}/retry", {}),
    "edit": ("patch", f"{TASKS}/{{waiting}}", {"priority": 9}),
    "edit by PUT": ("put", f"{TASKS}/{{waiting}}", CHANGE),
    "delete": ("delete", f"{TASKS}/{{waiting}}", {}),
    "redrive by the task": ("post", f"{TASKS}/{{dead}}/retry", {}),
    "redrive": ("post", "/api/v1/dlq/{letter}/redrive", {}),
    "discard": ("post", "/api/v1/dlq/{letter}/discard", {}),
    "restore": ("post", "/api/v1/dlq/{discarded}/restore", {}),
    "pause": ("post", "/api/v1/queues/default/pause", {}),
    "pause by PATCH": ("patch", "/api/v1/queues/default", {"paused": True}),
    "resume": ("post", "/api/v1/queues/other/resume", {}),
    "drain": ("delete", "/api/v1/workers/{worker}", {}),
}


@pytest.fixture
def chief(db):
    return Caller(User.objects.create_superuser("chief"))


@pytest.fixture
def rows(worker):
    dead = factories.make_task(Status.DEAD, worker=worker)
    queues.pause("other")
    discarded = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    lifecycle.discard(discarded.pk)
    found = {
        "discarded": discarded.pk,
        "waiting": factories.submit().pk,
        "cancelled": factories.make_task(Status.CANCELLED).pk,
        "dead": dead.pk,
        "letter": factories.open_letter(dead).pk,
        "worker": worker.pk,
    }
    Journal.objects.all().delete()
    return found


def _call(caller, verb, rows, **fields):
    method, path, others = VERBS[verb]
    body = json.dumps({**others, **fields}) if others or fields else b""
    return getattr(caller, method)(path.format(**rows), body, content_type="application/json")


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_recorded_with_its_reason(chief, rows, verb):
    assert _call(chief, verb, rows, reason=" the import was wrong ").status_code < 300
    entry = Journal.objects.get()
    assert (entry.verb, entry.by, entry.door) == (verb.split()[0], "chief", Door.API)
    assert (entry.reason, entry.operation_id) == ("the import was wrong", None)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fields", [{}, {"reason": None}, {"reason": ""}], ids=["none", "null", "empty"])
def test_a_reason_may_be_left_out(chief, rows, verb, fields):
    assert _call(chief, verb, rows, **fields).status_code < 300
    assert Journal.objects.get().reason == ""


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "reason", ["x" * 201, "a\0b", "a\nb", "\x1b[31mred", "a\x85b", "a\u2028b", 7, ["x"], {"a": 1}, True],
    ids=["long", "nul", "lines", "escape", "c1", "separator", "number", "array", "object", "boolean"],
)  # fmt: skip
def test_a_bad_reason_is_refused_and_changes_nothing(chief, rows, verb, reason):
    before = _state()
    assert_problem(_call(chief, verb, rows, reason=reason), 400, field="reason")
    assert not Journal.objects.exists()
    assert _state() == before


def _state():
    columns = [Task.objects.values_list("pk", "status", "version"), Queue.objects.values_list("pk", "paused_at")]
    return [sorted(map(str, rows)) for rows in (*columns, Worker.objects.values_list("pk", "status"))]


@pytest.mark.parametrize("verb", [verb for verb in VERBS if "PATCH" not in verb and "PUT" not in verb])
def test_a_verb_takes_nothing_but_a_reason(chief, rows, verb):
    assert_problem(_call(chief, verb, rows, resaon="x"), 400, field="resaon")
    assert not Journal.objects.exists()


def test_a_reason_alone_is_no_change(chief, rows):
    for path in (f"{TASKS}/{rows['waiting']}", "/api/v1/queues/default"):
        answer = chief.patch(path, {"reason": "why not"}, content_type="application/json")
        assert_problem(answer, 400)
    assert not Journal.objects.exists()


def test_a_reason_is_not_stored_on_the_task(chief, rows):
    answer = _call(chief, "edit by PUT", rows, reason="later")
    assert "reason" not in answer.json()
    # The payload was sent back as it was seen.
    assert Journal.objects.get().detail == {"fields": sorted(set(CHANGE) - {"payload"})}


def test_a_refused_verb_is_not_recorded(chief, alice, nobody, rows):
    done = factories.make_task(Status.SUCCEEDED)
    assert chief.send(f"{TASKS}/{done.pk}/cancel", {"reason": "x"}).status_code == 409
    assert chief.send(f"{TASKS}/{done.pk}/retry", {"reason": "x"}).status_code == 409
    for caller in (alice, nobody):
        for verb in VERBS:
            assert _call(caller, verb, rows, reason="x").status_code in {401, 403, 404}
    stale = chief.patch(
        f"{TASKS}/{rows['waiting']}", {"priority": 9}, content_type="application/json", headers={"if-match": '"7"'}
    )
    assert stale.status_code == 412
    assert not Journal.objects.exists()


def test_events_say_door_and_reason(chief, rows):
    _call(chief, "redrive", rows, reason="fixed")
    events = chief.get(f"{TASKS}/{rows['dead']}/events").json()["results"]
    (event,) = (one for one in events if one["type"] == "act")
    assert event.items() >= {
        "verb": "redrive", "by": "chief", "door": "api", "reason": "fixed", "detail": {"status": "DEAD"},
    }.items()  # fmt: skip


def test_the_journal_lists_all_doors_newest_first(chief, rows):
    lifecycle.cancel(rows["waiting"], by=Author("cli:root", Door.CLI, "by hand"))
    queues.pause("default", by=Author("olga", Door.ADMIN))
    page = chief.get(f"{JOURNAL}?limit=1").json()
    (paused,) = page["results"]
    assert (paused["verb"], paused["by"], paused["door"]) == ("pause", "olga", "admin")
    assert (paused["kind"], paused["object"], paused["queue"], paused["task_id"]) == (
        "queue",
        "default",
        "default",
        None,
    )
    (cancelled,) = chief.get(page["next"]).json()["results"]
    assert cancelled | {"id": 0, "at": ""} == {
        "id": 0, "verb": "cancel", "by": "cli:root", "door": "cli", "reason": "by hand", "at": "",
        "detail": {"status": "CANCELLED"}, "kind": "task", "object": str(rows["waiting"]), "name": None,
        "task_id": str(rows["waiting"]), "actor": "act", "queue": "default", "operation_id": None, "count": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("verb=pause", ["pause"]),
        ("verb=nothing", []),
        ("by=ada", ["pause", "cancel"]),
        ("door=CLI", ["discard"]),
        ("door=cli&door=api", ["discard", "pause", "cancel"]),
        ("kind=dead_letter", ["discard"]),
        ("object=default", ["pause"]),
        ("object={waiting}", ["cancel"]),
        ("object={dead}", ["discard"]),
        ("object={letter}&kind=dead_letter", ["discard"]),
        ("operation={waiting}", []),
        ("after=2001-01-01T00:00Z", ["discard", "pause", "cancel"]),
        ("before=2001-01-01T00:00Z", []),
    ],
)
def test_the_journal_is_filtered(chief, rows, query, found):
    lifecycle.cancel(rows["waiting"], by=Author("ada", Door.API))
    queues.pause("default", by=Author("ada", Door.API))
    lifecycle.discard(rows["letter"], by=Author("cli:root", Door.CLI))
    entries = chief.get(f"{JOURNAL}?{query.format(**rows)}").json()["results"]
    assert [entry["verb"] for entry in entries] == found


@pytest.mark.parametrize("query", ["door=window", "kind=job", "after=now", "verb=", "object=%00", "operation=7", "x=1"])
def test_a_wrong_filter_is_refused_by_name(chief, query):
    assert_problem(chief.get(f"{JOURNAL}?{query}"), 400, field=query.partition("=")[0])


def test_only_who_may_view_the_journal_sees_it(alice, nobody, rows):
    assert_problem(nobody.get(JOURNAL), 401)
    for user in (alice.user, User.objects.create_user("new", is_staff=True)):
        caller = Caller(user)
        assert_problem(caller.get(JOURNAL), 403)
        user.user_permissions.add(Permission.objects.get(codename="view_journal"))
        assert caller.get(JOURNAL).json()["results"] == []


def test_a_token_shows_only_what_it_is_for(chief, rows, worker):
    for row, queue in ((factories.submit(), "default"), (factories.submit(queue="other"), "other")):
        lifecycle.cancel(row.pk)
        assert row.queue == queue
    lifecycle.workers.ask_to_drain([worker.pk])
    for limits, seen in (({"queues": ["other"]}, 1), ({"actors": ["echo"]}, 0), ({}, 3), ({"actors": ["act"]}, 2)):
        _, secret = ApiToken.issue(user=chief.user, name="narrow", **limits)
        narrow = Caller(authorization=f"Bearer {secret}")
        assert len(narrow.get(JOURNAL).json()["results"]) == seen, limits


def test_kinds_and_doors_are_filters_by_their_values():
    for kind in (Door, ObjectKind):
        assert [one.value for one in kind] == [one.name.lower() for one in kind]
