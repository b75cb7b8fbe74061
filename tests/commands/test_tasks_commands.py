"""``callboard tasks``."""

import pytest

from tasks.management.callboard import operator
from tasks.management.commands.callboard import Command
from tasks.models import Journal, new_id
from tasks.states import Status
from tests.callers import let_see_payloads
from tests.commands.cli import callboard, callboard_json, refused
from tests.factories import make_task, submit

pytestmark = pytest.mark.django_db


def test_tasks_are_listed_newest_first_with_the_keys_of_the_api(staff) -> None:
    let_see_payloads(staff.user)
    old, new = submit(), submit(tags=["b"])
    listed = callboard_json("tasks", "list")
    assert [one["id"] for one in listed["results"]] == [str(new.pk), str(old.pk)]
    assert listed["has_more"] is False
    answered = staff.get(f"/api/v1/tasks/{new.pk}").json()
    assert listed["results"][0] == {**answered, "url": f"/api/v1/tasks/{new.pk}", "waiting_for": []}


def test_a_pipe_gets_one_line_for_each_task() -> None:
    task = submit()
    header, line = callboard("tasks", "list").splitlines()
    assert header.split("\t")[:3] == ["ID", "ACTOR", "STATUS"]
    assert line.split("\t")[:3] == [str(task.pk), "act", "PENDING"]


def test_quiet_prints_ids_for_xargs() -> None:
    tasks = [submit(), submit()]
    assert callboard("tasks", "list", "-q").split() == [str(task.pk) for task in reversed(tasks)]


def test_filters_are_those_of_the_api() -> None:
    dead = make_task(Status.DEAD, tags=["night"])
    retrying = make_task(Status.RETRYING)
    submit(actor="elsewhere")

    def ids(*words: str) -> set[str]:
        return set(callboard("tasks", "list", "-q", *words).split())

    assert ids("--status", "dead", "--status", "RETRYING") == {str(dead.pk), str(retrying.pk)}
    assert ids("--tag", "night") == {str(dead.pk)}
    assert ids("--search", str(dead.pk)) == {str(dead.pk)}
    assert len(ids("--actor", "elsewhere", "--queue", "other", "--band", "high")) == 1
    assert ids("--created-before", "2020-01-01T00:00Z") == set()


def test_a_cut_list_says_so() -> None:
    submit()
    submit()
    listed = callboard_json("tasks", "list", "--limit", "1")
    assert (len(listed["results"]), listed["has_more"]) == (1, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--status", "asleep"], "status: expected one of BLOCKED"),
        (["--actor", "a", "--actor", "b"], "actor: expected one value"),
        (["--created-after", "yesterday"], "created_after: expected a date and time"),
        (["--limit", "0"], "--limit: expected a whole number from 1 to 10000, got 0"),
        (["--limit", "all"], "tasks list: argument --limit: invalid int value: 'all'"),
        (["--colour", "red"], "tasks list: unrecognized arguments: --colour red (--help shows what it takes)"),
    ],
)
def test_a_wrong_filter_is_one_line(words: list[str], says: str) -> None:
    assert says in refused("tasks", "list", *words)[0]


def test_one_task_is_shown_with_attempts_events_and_traceback() -> None:
    task = make_task(Status.DEAD)
    callboard("tasks", "retry", str(task.pk))
    shown = callboard_json("tasks", "show", str(task.pk))
    assert shown["status"] == "PENDING"
    assert [one["outcome"] for one in shown["attempts"]] == ["FAILED"]
    assert [(one["verb"], one["by"]) for one in shown["events"]] == [("redrive", operator.name())]
    text = callboard("tasks", "show", str(task.pk))
    assert "status\tPENDING" in text
    assert "Traceback …" in text


def test_an_unknown_task_is_one_line() -> None:
    id = str(new_id())
    assert refused("tasks", "show", id)[0] == f"there is no task {id}"


def test_an_id_that_is_none_is_refused() -> None:
    assert "tasks show: argument ID: expected a UUID, got '17'" in refused("tasks", "show", "17")[0]


@pytest.mark.parametrize(
    "words", [["tasks", "show", "17"], ["tasks"], ["dlq", "list", "--limit", "all"], ["load", "--x"]]
)
def test_what_cannot_be_typed_is_one_line_at_a_prompt(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As manage.py does it: an error while arguments are read comes before anything that would make it one line."""
    command = Command()
    with pytest.raises(SystemExit) as caught:
        command.run_from_argv(["manage.py", "callboard", *words])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"manage.py callboard {words[0]}")


def test_several_are_cancelled_and_the_operator_is_noted() -> None:
    tasks = [submit(), submit()]
    done = callboard_json("tasks", "cancel", *(str(task.pk) for task in tasks))["results"]
    assert [(one["id"], one["status"], one["error"]) for one in done] == [
        (str(task.pk), "CANCELLED", None) for task in tasks
    ]
    assert set(Journal.objects.values_list("verb", "by")) == {("cancel", operator.name())}


def test_one_refusal_fails_the_command_and_the_rest_is_done() -> None:
    done, waits = make_task(Status.SUCCEEDED), submit()
    says, text = refused("tasks", "cancel", str(done.pk), str(waits.pk))
    assert says == "1 of 2 refused"
    assert "cannot cancel a task that is SUCCEEDED" in text
    waits.refresh_from_db()
    assert waits.status == Status.CANCELLED


def test_what_was_cancelled_is_retried() -> None:
    task = make_task(Status.CANCELLED)
    (done,) = callboard_json("tasks", "retry", str(task.pk))["results"]
    assert done["status"] == "PENDING"


def test_the_operator_is_named_even_without_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert operator.name().removeprefix("cli:").isdigit()


def test_a_workflow_is_listed_cancelled_and_retried_as_a_whole() -> None:
    first = submit()
    second = callboard_json("submit", "act", "--payload", "do=return", "--depends-on", f"{first.pk}:run")
    listed = callboard_json("tasks", "workflow", second["id"])
    assert [(one["id"], one["status"]) for one in listed["results"]] == [
        (str(first.pk), "PENDING"),
        (second["id"], "BLOCKED"),
    ]
    assert listed["results"][1]["waits_for"] == [str(first.pk)]
    assert listed["results"][1]["depends_on"][0]["on_failure"] == "run"
    (done,) = callboard_json("tasks", "cancel", "--workflow", second["id"], "--reason", "no")["results"]
    assert done["status"] == "CANCELLED"
    assert Journal.objects.filter(verb="cancel", reason="no", task_id__isnull=False).count() == 2
    (done,) = callboard_json("tasks", "retry", "--workflow", str(first.pk))["results"]
    first.refresh_from_db()
    assert (done["status"], first.status) == ("PENDING", Status.PENDING)
    assert refused("tasks", "workflow", str(new_id()))
