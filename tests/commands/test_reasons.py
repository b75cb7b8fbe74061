"""What the operators' commands do is in the journal with the account, the door and the reason."""

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import queues
from tasks.management.callboard import operator
from tasks.models import Journal, Worker
from tasks.states import Door, Status
from tests.commands.cli import callboard, callboard_json, refused
from tests.factories import make_task, make_worker, open_letter, submit

pytestmark = pytest.mark.django_db


def _discarded() -> DeadLetter:
    letter = open_letter(make_task(Status.DEAD))
    lifecycle.discard(letter.pk)
    return letter


VERBS = {
    "cancel": (["tasks", "cancel"], submit),
    "retry": (["tasks", "retry"], lambda: make_task(Status.CANCELLED)),
    "redrive": (["dlq", "redrive"], lambda: open_letter(make_task(Status.DEAD))),
    "discard": (["dlq", "discard"], lambda: open_letter(make_task(Status.DEAD))),
    "restore": (["dlq", "restore"], _discarded),
    "drain": (["workers", "drain"], make_worker),
}


def _queue(verb: str) -> None:
    if verb == "resume":
        queues.pause("default")
    Journal.objects.all().delete()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_recorded_with_its_reason(worker: Worker, verb: str) -> None:
    words, make = VERBS[verb]
    row = make()
    Journal.objects.all().delete()
    callboard(*words, str(row.pk), "--reason", "as agreed")
    entry = Journal.objects.get()
    assert (entry.verb, entry.by, entry.door, entry.reason) == (verb, operator.name(), Door.CLI, "as agreed")
    assert (entry.object_id, entry.operation_id) == (str(row.pk), None)
    assert refused(*words, str(row.pk))[0] if verb not in {"cancel"} else True
    assert Journal.objects.count() == 1


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_queue_is_recorded_with_its_reason(verb: str) -> None:
    _queue(verb)
    callboard("queues", verb, "default", "--reason", "as agreed")
    callboard("queues", verb, "default")
    entry = Journal.objects.get()
    assert (entry.verb, entry.by, entry.door, entry.reason) == (verb, operator.name(), Door.CLI, "as agreed")


def test_several_are_recorded_each_and_summed_up() -> None:
    tasks = [submit(), submit(), make_task(Status.SUCCEEDED)]
    refused("tasks", "cancel", *(str(task.pk) for task in tasks), "--reason", "cleaning")
    first, second, summary = Journal.objects.all()
    assert {first.task, second.task} == set(tasks[:2])
    assert (summary.verb, summary.count, summary.reason, summary.door) == ("cancel", 2, "cleaning", Door.CLI)
    assert first.operation_id == second.operation_id == summary.operation_id


@pytest.mark.parametrize("reason", ["x" * 201, "two\nlines", "\x1b[2J"])
@pytest.mark.parametrize("words", [["tasks", "cancel"], ["queues", "pause"]], ids=" ".join)
def test_a_bad_reason_changes_nothing(words: list[str], reason: str) -> None:
    task = submit()
    of = str(task.pk) if words[0] == "tasks" else "default"
    assert refused(*words, of, "--reason", reason)[0].startswith("--reason: expected")
    task.refresh_from_db()
    assert task.status == Status.PENDING
    assert not Journal.objects.exists()


def test_a_task_shows_the_reasons() -> None:
    task = submit()
    callboard("tasks", "cancel", str(task.pk), "--reason", "as agreed")
    (event,) = callboard_json("tasks", "show", str(task.pk))["events"]
    assert (event["door"], event["reason"]) == ("cli", "as agreed")
    assert "as agreed" in callboard("tasks", "show", str(task.pk))
