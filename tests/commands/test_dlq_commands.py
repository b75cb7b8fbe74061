"""``callboard dlq``."""

from typing import Any

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import Author
from tasks.management.callboard import operator
from tasks.models import new_id
from tasks.states import Resolution, Status
from tests.callers import let_see_payloads
from tests.commands.cli import callboard, callboard_json, refused
from tests.factories import failure, make_task, open_letter, start, submit

pytestmark = pytest.mark.django_db


def test_open_dead_letters_are_listed_and_all_when_asked(staff) -> None:
    let_see_payloads(staff.user)
    redriven, dead = make_task(Status.DEAD), make_task(Status.DEAD)
    first, letter = open_letter(redriven), open_letter(dead)
    callboard("dlq", "redrive", str(first.pk))
    (listed,) = callboard_json("dlq", "list")["results"]
    answered = staff.get(f"/api/v1/dlq/{letter.pk}").json()
    urls = {"url": f"/api/v1/dlq/{letter.pk}", "task_url": f"/api/v1/tasks/{dead.pk}"}
    assert listed == {**answered, **urls}
    assert callboard("dlq", "list", "--all", "-q").split() == [str(letter.pk), str(first.pk)]
    assert callboard("dlq", "list", "--resolution", "redriven", "-q").split() == [str(first.pk)]
    assert callboard("dlq", "list", "--task", str(dead.pk), "-q").split() == [str(letter.pk)]


def test_a_dead_letter_is_shown_with_its_traceback() -> None:
    letter = open_letter(make_task(Status.DEAD))
    assert callboard_json("dlq", "show", str(letter.pk))["traceback"] == "Traceback …"
    assert "Traceback …" in callboard("dlq", "show", str(letter.pk))


def test_notes_on_attempts_are_shown(worker) -> None:
    task = make_task()
    note = "left a transaction open"
    lifecycle.complete_many([failure(start(task, worker), worker, death="not_retryable", note=note)])
    assert callboard_json("tasks", "show", str(task.pk))["attempts"][0]["note"] == note
    assert note in callboard("tasks", "show", str(task.pk))
    assert callboard_json("dlq", "show", str(DeadLetter.objects.get().pk))["note"] == note


def test_a_dead_letter_is_redriven_once() -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    (done,) = callboard_json("dlq", "redrive", str(letter.pk))["results"]
    assert done["status"] == "PENDING"
    letter.refresh_from_db()
    assert (letter.resolution, letter.resolved_by) == (Resolution.REDRIVEN, operator.name())
    assert refused("dlq", "redrive", str(letter.pk))[0] == "1 of 1 refused"


def test_a_dead_letter_is_redriven_with_another_payload() -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    callboard("dlq", "redrive", str(letter.pk), "--payload", "do=return", "value=7")
    task.refresh_from_db()
    assert (task.payload, task.status) == ({"do": "return", "value": 7}, Status.PENDING)


def test_a_payload_is_for_one_dead_letter_and_keeps_no_mask() -> None:
    task = make_task(Status.DEAD, actor="login", payload={"user": "ada", "password": "hunter2-swordfish"})
    letter = open_letter(task)
    assert "one dead letter" in refused("dlq", "redrive", str(letter.pk), str(new_id()), "--payload", "do=return")[0]
    assert "--payload" in refused("dlq", "redrive", "--failure", "0" * 32, "--payload", "do=return")[0]
    refused("dlq", "redrive", str(letter.pk), "--payload", "user=bob", "password=********")
    task.refresh_from_db()
    assert (task.payload["user"], task.status) == ("ada", Status.DEAD)


def test_ctrl_c_amid_many_tells_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [submit(), submit()]

    def cancel(id: Any, *, by: Author) -> str:
        if id == tasks[1].pk:
            raise KeyboardInterrupt
        return "CANCELLED"

    monkeypatch.setattr("tasks.lifecycle.cancel", cancel)
    says, text = refused("tasks", "cancel", *(str(task.pk) for task in tasks))
    assert says == "stopped"
    assert [line.split("\t")[:2] for line in text.splitlines()[1:]] == [[str(tasks[0].pk), "CANCELLED"]]


def test_a_dead_letter_is_discarded() -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    (done,) = callboard_json("dlq", "discard", str(letter.pk))["results"]
    assert done["status"] == "DISCARDED"
    task.refresh_from_db()
    assert task.status == Status.DEAD


def test_an_unknown_dead_letter_is_one_line() -> None:
    id = str(new_id())
    assert refused("dlq", "show", id)[0] == f"there is no dead letter {id}"
