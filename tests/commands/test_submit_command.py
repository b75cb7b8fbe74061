"""``callboard submit``."""

import io

import pytest
from django.core.management.base import CommandError

from tasks.lifecycle import NewBatch, batches
from tasks.management.callboard import operator
from tasks.models import Task
from tasks.states import Status
from tests.commands.cli import callboard, callboard_json, refused
from tests.factories import bring, make_leader, make_worker

pytestmark = pytest.mark.django_db


def test_a_task_is_submitted_with_all_its_options() -> None:
    id = callboard(
        "submit", "act", "--payload", "do=return", 'value={"a": [1]}', "--priority", "high", "--delay", "60",
        "--queue", "other", "--tag", "x", "--tag", "y", "--max-retries", "7",
    ).strip()  # fmt: skip
    task = Task.objects.get(pk=id)
    assert task.payload == {"do": "return", "value": {"a": [1]}}
    assert (task.priority, task.queue, task.tags, task.max_retries) == (9, "other", ["x", "y"], 7)
    assert task.owner_id is None
    assert 55 < (task.run_at - task.created_at).total_seconds() < 65


def test_pairs_are_json_where_they_can_be_and_text_otherwise() -> None:
    shown = callboard_json("submit", "note", "--payload", "a=1", "b=true", "c=ü and more", 'd="7"', "e==", "f=")
    assert shown["payload"] == {"a": 1, "b": True, "c": "ü and more", "d": "7", "e": "=", "f": ""}


def test_a_payload_comes_from_a_file_or_standard_input(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "payload.json").write_text('{"from": "file"}')
    assert callboard_json("submit", "note", "--payload", f"@{tmp_path}/payload.json")["payload"] == {"from": "file"}
    monkeypatch.setattr("sys.stdin", io.StringIO('{"from": "stdin"}'))
    assert callboard_json("submit", "note", "--payload", "@-")["payload"] == {"from": "stdin"}


def test_a_number_is_a_priority_too() -> None:
    assert callboard_json("submit", "note", "--priority", "3")["priority"] == 3


def test_actors_closed_to_the_api_are_open_to_operators() -> None:
    assert callboard_json("submit", "private")["actor"] == "private"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nobody"], "actor: no actor is declared as 'nobody'"),
        (["act", "--payload", "{"], "--payload: expected a JSON object"),
        (["act", "--payload", "[1]"], "expected a JSON object, @file or key=value"),
        (["act", "--payload", "@/does/not/exist"], "--payload: cannot read /does/not/exist"),
        (["act", "--payload", "{}"], "payload.do: the actor needs this argument"),
        (["act", "--payload", "do=return", "--priority", "urgent"], "priority: expected a whole number from 1 to 10"),
        (["act", "--payload", "do=return", "--delay", "-1"], "delay_seconds: expected a number of seconds"),
        (["act", "--payload", "do=return", "--run-at", "noon"], "run_at: expected a date and time"),
        (["act", "--payload", "do=return", "--queue", "nowhere"], "queue: no queue is called 'nowhere'"),
    ],
)
def test_a_wrong_submission_is_one_line(words: list[str], says: str) -> None:
    assert says in refused("submit", *words)[0]
    assert not Task.objects.exists()


def test_who_does_not_want_to_wait_longer_is_told() -> None:
    make_leader()
    make_worker()
    with pytest.raises(CommandError, match="is still PENDING after 0 s; it continues") as caught:
        callboard("submit", "note", "--wait", "0")
    assert caught.value.returncode == 124


def test_what_holds_a_task_up_is_told() -> None:
    make_leader()
    says, _ = refused("submit", "note", "--wait", "0")
    assert "is still PENDING, because no live worker serves the band medium of queue default, after 0 s" in says
    make_worker()
    callboard("queues", "pause", "default", "--reason", "too hot")
    shown = callboard_json("tasks", "show", str(Task.objects.get().pk))
    (obstacle,) = shown["waiting_for"]
    assert (shown["expected_start_seconds"], obstacle["kind"], obstacle["by"]) == (
        None,
        "queue_paused",
        operator.name(),
    )
    assert obstacle["message"].endswith(": too hot")
    assert obstacle["message"] in callboard("tasks", "show", shown["id"])
    callboard("queues", "resume", "default")
    shown = callboard_json("tasks", "show", str(Task.objects.get().pk))
    assert (shown["expected_start_seconds"], shown["waiting_for"]) == (0, [])


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.DEAD, Status.CANCELLED])
def test_waiting_ends_with_the_task(worker, status: Status, instead_of_sleep) -> None:
    def work(_: float) -> None:
        """Do what scheduler and worker would while the command sleeps."""
        bring(Task.objects.get(), status, worker)

    instead_of_sleep("tasks.management.callboard.submit", work)
    words = ["submit", "note", "--wait"]
    if status is Status.SUCCEEDED:
        assert callboard_json(*words)["result"] == {"answer": 42}
    else:
        assert f"is {status}: " in refused(*words)[0]


def test_a_pipe_gets_the_result_of_a_task_that_was_awaited(worker, instead_of_sleep) -> None:
    instead_of_sleep("tasks.management.callboard.submit", lambda _: bring(Task.objects.get(), Status.SUCCEEDED, worker))
    lines = dict(line.split("\t") for line in callboard("submit", "note", "--wait").splitlines())
    assert (lines["status"], lines["result"]) == ("SUCCEEDED", '{"answer": 42}')
    assert lines["id"] == str(Task.objects.get().pk)


def test_a_pipe_gets_the_error_of_an_awaited_task_that_died(worker, instead_of_sleep) -> None:
    instead_of_sleep("tasks.management.callboard.submit", lambda _: bring(Task.objects.get(), Status.DEAD, worker))
    _, printed = refused("submit", "note", "--wait")
    assert "status\tDEAD\n" in printed
    assert "error\tRuntimeError: " in printed


def test_a_task_depends_on_tasks_and_batches() -> None:
    batch = batches.create(NewBatch()).batch
    parent = callboard_json("submit", "note")["id"]
    task = callboard_json("submit", "note", "--depends-on", f"{parent}:run", "--depends-on", f"batch:{batch.pk}:block")
    assert [(edge["id"], edge["batch"], edge["on_failure"]) for edge in task["depends_on"]] == [
        (None, str(batch.pk), "block"),
        (parent, None, "run"),
    ]
    listed = callboard_json("tasks", "workflow", task["id"])["results"]
    assert listed[-1]["waits_for"] == [f"batch:{batch.pk}", parent]
    assert "expected a UUID" in refused("submit", "note", "--depends-on", "batch:night")[0]


def test_a_unique_key_has_options_of_its_own() -> None:
    words = ["--unique-key", "k", "--unique-until", "started", "--unique-ttl", "60"]
    words += ["--unique-on-conflict", "replace", "--unique-max-wait", "90"]
    tasks = [callboard_json("submit", "note", "--payload", "a=1", *words) for _ in range(2)]
    assert [task["unique"]["outcome"] for task in tasks] == ["created", "replaced"]
    rule = {"key": "k", "until": "started", "ttl_seconds": 60, "on_conflict": "replace", "max_wait_seconds": 90}
    assert tasks[1]["unique"] == {**rule, "outcome": "replaced"}


def test_waiting_keeps_what_became_of_a_unique_key(worker, instead_of_sleep) -> None:
    instead_of_sleep("tasks.management.callboard.submit", lambda _: bring(Task.objects.get(), Status.SUCCEEDED, worker))
    assert callboard_json("submit", "note", "--unique-key", "k", "--wait")["unique"]["outcome"] == "created"


def test_a_task_that_is_deleted_while_it_is_awaited_is_told(instead_of_sleep) -> None:
    instead_of_sleep("tasks.management.callboard.submit", lambda _: Task.objects.all().delete())
    assert "was deleted" in refused("submit", "note", "--wait")[0]


def test_a_taken_key_that_is_to_be_rejected_ends_the_command() -> None:
    task = callboard_json("submit", "note", "--payload", "a=1", "--unique-key", "k")
    with pytest.raises(CommandError, match=task["id"]) as caught:
        callboard("submit", "note", "--payload", "a=1", "--unique-key", "k", "--unique-on-conflict", "reject")
    assert caught.value.returncode == 1
    with pytest.raises(CommandError, match="unique: until: expected started or finished") as caught:
        callboard("submit", "note", "--payload", "a=1", "--unique-key", "k", "--unique-until", "never")
    assert caught.value.returncode == 2
