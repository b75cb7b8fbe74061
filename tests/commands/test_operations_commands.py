"""``callboard operations``, ``dlq failures`` and ``dlq redrive --failure``."""

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import operations
from tasks.lifecycle.operations import Plan
from tasks.models import Journal, Operation, Task, Worker
from tasks.states import Door, ObjectKind, OperationVerb, Status
from tests.commands.cli import callboard, callboard_json, refused
from tests.factories import make_lead, make_task, open_letter

pytestmark = pytest.mark.django_db


@pytest.fixture
def failure(worker: Worker) -> str:
    """Three deaths of one cause."""
    for _ in range(3):
        task = make_task(Status.DEAD, worker=worker)
    lifecycle.fold_failures(**make_lead())
    return open_letter(task).fingerprint


def test_failures_are_listed(failure: str) -> None:
    (one,) = callboard_json("dlq", "failures")["results"]
    assert (one["fingerprint"], one["open"], one["total"], one["actor"]) == (failure, 3, 3, "act")
    assert failure in callboard("dlq", "failures", "--actor", "act")
    assert callboard_json("dlq", "failures", "--actor", "other")["results"] == []


def test_a_failure_is_redriven_with_care(failure: str) -> None:
    begun = callboard_json(
        "dlq", "redrive", "--failure", failure, "--canary", "1", "--rate", "20", "--reason", "the fix is out"
    )
    assert (begun["verb"], begun["state"], begun["total"], begun["canary"]) == ("redrive", "CANARY", 3, 1)
    assert (begun["rate_per_second"], begun["failure"], begun["reason"]) == (20, failure, "the fix is out")
    id = begun["id"]
    assert Operation.objects.get().door == Door.CLI
    assert callboard("operations", "list", "--state", "canary", "-q").split() == [id]
    assert callboard_json("operations", "pause", id)["results"][0]["status"] == "PAUSED"
    assert "PAUSED" in refused("operations", "pause", id)[1]
    assert callboard_json("operations", "resume", id)["results"][0]["status"] == "CANARY"
    assert callboard_json("operations", "cancel", id, "--reason", "no")["results"][0]["status"] == "CANCELLED"
    assert callboard_json("operations", "show", id)["state"] == "CANCELLED"
    entries = Journal.objects.filter(kind="operation").values_list("verb", flat=True)
    assert list(entries) == ["create", "pause", "resume", "cancel"]


def test_a_preview_waits(failure: str) -> None:
    begun = callboard_json("dlq", "redrive", "--failure", failure, "--preview")
    assert (begun["state"], begun["started_at"]) == ("PREVIEW", None)


def test_nonsense_is_one_line(failure: str) -> None:
    for verb in ("redrive", "discard", "restore"):
        assert "expected ids of dead letters, or --failure" in refused("dlq", verb)[0]
    assert "got both" in refused("dlq", "discard", str(open_letter(Task.objects.all()[0]).pk), "--failure", failure)[0]
    assert "true or false" in refused("dlq", "failures", "--snoozed", "x")[0]
    assert "32 hexadecimal digits" in refused("dlq", "failure", "x")[0]
    assert "there is no failure" in refused("dlq", "failure", "0" * 32)[0]
    assert "32 hexadecimal digits" in refused("dlq", "redrive", "--failure", "x")[0]
    assert "no open dead letters" in refused("dlq", "redrive", "--failure", "0" * 32)[0]
    assert "from 0.01" in refused("dlq", "redrive", "--failure", failure, "--rate", "0")[0]


def test_a_failure_is_snoozed_until_a_time_or_a_new_build_and_woken(failure: str) -> None:
    snoozed = callboard_json("dlq", "snooze", failure, "--until-new-build", "--reason", "the fix is merged")
    assert (snoozed["snoozed_until_new_build"], snoozed["snoozed_until"]) == (True, None)
    assert Journal.objects.about(ObjectKind.FAILURE, failure).get().reason == "the fix is merged"
    snoozed = callboard_json("dlq", "snooze", failure, "--until", "2099-01-31T09:00:00Z")
    assert (snoozed["snoozed_until_new_build"], snoozed["snoozed_until"][:10]) == (False, "2099-01-31")
    woken = callboard_json("dlq", "snooze", failure, "--wake")
    assert (woken["snoozed_until_new_build"], woken["snoozed_until"]) == (False, None)
    for words in ([], ["--wake", "--until-new-build"], ["--until", "tomorrow"]):
        refused("dlq", "snooze", failure, *words)
    assert refused("dlq", "snooze", "0" * 32, "--wake")[0] == f"there is no failure {'0' * 32}"


def test_a_discard_is_undone(failure: str) -> None:
    letters = list(DeadLetter.objects.values_list("pk", flat=True))
    operation = operations.begin(Plan(verb=OperationVerb.DISCARD), letters)
    assert "undo" in refused("operations", "undo", str(operation.pk))[1]
    lifecycle.step_operation(operation.pk, **make_lead())
    assert callboard_json("operations", "undo", str(operation.pk))["results"][0]["status"] == "RUNNING"
    begun = Operation.objects.newest_first()[0]
    assert (begun.verb, begun.total, begun.door) == ("restore", 3, Door.CLI)
    lifecycle.step_operation(begun.pk, **make_lead())
    assert DeadLetter.objects.open().count() == 3


def test_a_group_is_chosen_by_the_filters_of_the_page_and_discarded_and_restored(failure: str) -> None:
    other = make_task(Status.DEAD, queue="other")
    begun = callboard_json("dlq", "discard", "--failure", failure, "--queue", "default", "--reason", "known")
    assert (begun["verb"], begun["total"], begun["filter"]) == (
        "discard", 3, {"failure": failure, "queue": "default"},
    )  # fmt: skip
    lifecycle.step_operation(begun["id"], **make_lead())
    assert [letter.task_id for letter in DeadLetter.objects.open()] == [other.pk]
    restored = callboard_json("dlq", "restore", "--actor", "act", "--preview")
    assert (restored["verb"], restored["state"], restored["total"]) == ("restore", "PREVIEW", 3)
    assert "no open dead letters have the queue none" in refused("dlq", "redrive", "--queue", "none")[0]


def test_failures_are_filtered_and_one_is_shown_with_what_its_deaths_have_in_common(failure: str) -> None:
    error = callboard_json("dlq", "failures")["results"][0]["error"]["type"]
    assert len(callboard_json("dlq", "failures", "--error-type", error, "--snoozed", "false")["results"]) == 1
    assert callboard_json("dlq", "failures", "--assignee", "olga")["results"] == []
    shown = callboard_json("dlq", "failure", failure)
    assert (shown["fingerprint"], shown["open"], shown["compared"]) == (failure, 3, 3)
    assert {"kind": "queue", "name": None, "value": "default", "count": 3} in shown["in_common"]
    assert "default" in callboard("dlq", "failure", failure)
