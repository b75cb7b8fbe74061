"""``manage.py callboard``: what each command prints, in its three forms, and how it fails."""

import argparse
import io
import json
import re
import shlex
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import queues
from tasks.management.callboard import operator, output
from tasks.management.commands.callboard import Command
from tasks.models import Queue, Task, TaskEvent, Worker, new_id
from tasks.states import AttemptOutcome, Resolution, Status, WorkerStatus
from tests.factories import bring, failure, let_lease_run_out, make_task, make_worker, open_letter, start, submit

pytestmark = pytest.mark.django_db

HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]tag[/red]\t\u202e\x9b"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def callboard(*words: str) -> str:
    """Run a command in a pipe."""
    out = io.StringIO()
    call_command("callboard", *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def callboard_json(*words: str) -> Any:
    return json.loads(callboard(*words, "--json"))


def on_terminal(*words: str, monkeypatch: pytest.MonkeyPatch, columns: int = 200) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    call_command("callboard", *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def without_styles(text: str) -> str:
    """Take out what makes bold, dim or coloured, and what fills a line."""
    return "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())


def refused(*words: str) -> tuple[str, str]:
    """Run a command that fails; give its one line and what it printed before."""
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("callboard", *words, stdout=out, stderr=io.StringIO())
    assert caught.value.returncode > 0
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value), out.getvalue()


# --- Tasks -------------------------------------------------------------------------------------------------------


def test_tasks_are_listed_newest_first_with_the_keys_of_the_api(staff) -> None:
    old, new = submit(), submit(tags=["b"])
    listed = callboard_json("tasks", "list")
    assert [one["id"] for one in listed["results"]] == [str(new.pk), str(old.pk)]
    assert listed["has_more"] is False
    answered = staff.get(f"/api/v1/tasks/{new.pk}").json()
    assert listed["results"][0] == {**answered, "url": f"/api/v1/tasks/{new.pk}"}


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
        (["--actor", "a", "--actor", "b"], "actor: expected it once"),
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
    assert set(TaskEvent.objects.values_list("verb", "by")) == {("cancel", operator.name())}


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


# --- Dead letters ------------------------------------------------------------------------------------------------


def test_open_dead_letters_are_listed_and_all_when_asked(staff) -> None:
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


def test_ctrl_c_amid_many_tells_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [submit(), submit()]

    def cancel(id: Any, *, by: str) -> str:
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


# --- Queues and workers ------------------------------------------------------------------------------------------


def test_queues_are_listed_paused_and_resumed(worker) -> None:
    submit()
    listed = {one["name"]: one for one in callboard_json("queues", "list")["results"]}
    assert listed["default"]["waiting"] == 1
    assert listed["default"]["threads"] == worker.threads
    (paused,) = callboard_json("queues", "pause", "default")["results"]
    assert paused["paused_at"] is not None
    assert Queue.objects.get(pk="default").paused_at is not None
    (resumed,) = callboard_json("queues", "resume", "default")["results"]
    assert resumed["paused_at"] is None


def test_an_unknown_queue_is_one_line() -> None:
    assert refused("queues", "pause", "default", "nowhere")[0] == "there is no queue 'nowhere'"
    assert Queue.objects.get(pk="default").paused_at is None


def test_workers_that_are_present_are_listed_and_all_when_asked(worker) -> None:
    silent = make_worker()
    let_lease_run_out(silent)
    (listed,) = callboard_json("workers", "list")["results"]
    assert (listed["id"], listed["pid"], listed["status"]) == (str(worker.pk), worker.pid, "ALIVE")
    assert len(callboard_json("workers", "list", "--all")["results"]) == 2
    assert callboard("workers", "list", "-q").split() == [str(worker.pk)]
    assert callboard("workers", "list", "-q", "--status", "gone") == ""
    assert len(callboard("workers", "list", "-q", "--status", "alive").split()) == 2


def test_a_worker_is_shown_with_what_it_runs(worker) -> None:
    task = make_task(Status.RUNNING, worker=worker)
    shown = callboard_json("workers", "show", str(worker.pk))
    assert shown["running"] == [one["id"] for one in shown["tasks"]] == [str(task.pk)]
    assert str(task.pk) in callboard("workers", "show", str(worker.pk))


def test_a_worker_is_drained_once(worker) -> None:
    (done,) = callboard_json("workers", "drain", str(worker.pk))["results"]
    assert done["status"] == "DRAINING"
    assert Worker.objects.get(pk=worker.pk).status == WorkerStatus.DRAINING
    assert "cannot drain a worker that is DRAINING" in refused("workers", "drain", str(worker.pk))[1]


def test_an_unknown_worker_is_refused() -> None:
    id = str(new_id())
    assert refused("workers", "show", id)[0] == f"there is no worker {id}"


# --- Statistics --------------------------------------------------------------------------------------------------


def test_stats_count_measure_and_list(worker) -> None:
    make_task(Status.SUCCEEDED, worker=worker)
    submit()
    stats = callboard_json("stats")
    assert stats["tasks"]["SUCCEEDED"] == stats["tasks"]["PENDING"] == 1
    assert set(stats["tasks"]) == set(Status.values)
    assert stats["capped"] == []
    assert stats["recent"]["attempts"] == {"SUCCEEDED": 1}
    assert stats["recent"]["run_seconds"]["p50"] == pytest.approx(0.005)
    assert {one["name"] for one in stats["queues"]} >= {"default", "other"}
    assert [one["id"] for one in stats["workers"]] == [str(worker.pk)]
    assert "last 5 min: " in callboard("stats")


def test_stats_say_where_they_stopped_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.queries.counts.COUNT_CAP", 1)
    submit()
    submit()
    assert callboard_json("stats")["capped"] == ["PENDING"]
    assert "PENDING\t1+" in callboard("stats")


def test_minutes_have_bounds() -> None:
    assert "--minutes: expected a whole number from 1 to 1440" in refused("stats", "--minutes", "0")[0]


# --- Submit ------------------------------------------------------------------------------------------------------


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
    make_worker()
    with pytest.raises(CommandError, match="is still PENDING after 0 s; it goes on") as caught:
        callboard("submit", "note", "--wait", "0")
    assert caught.value.returncode == 2


def test_what_holds_a_task_up_is_told() -> None:
    says, _ = refused("submit", "note", "--wait", "0")
    assert "is still PENDING, because no worker is there for its actor and queue, after 0 s" in says
    make_worker()
    callboard("queues", "pause", "default")
    shown = callboard_json("tasks", "show", str(Task.objects.get().pk))
    assert (shown["expected_start_seconds"], shown["held_up_because"]) == (None, "its queue is paused")
    callboard("queues", "resume", "default")
    shown = callboard_json("tasks", "show", str(Task.objects.get().pk))
    assert (shown["expected_start_seconds"], shown["held_up_because"]) == (0, "")


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


# --- All of them -------------------------------------------------------------------------------------------------


def test_a_terminal_gets_tables_with_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(Status.DEAD)
    text = on_terminal("tasks", "list", monkeypatch=monkeypatch)
    assert str(task.pk) in text
    assert "\x1b[31mDEAD" in text
    assert "now" in text or "s ago" in text
    assert "as asked" in text


def test_a_record_says_times_errors_and_states_to_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(Status.DEAD)
    Task.objects.filter(pk=task.pk).update(created_at=task.created_at - timedelta(hours=3, minutes=5))
    text = without_styles(on_terminal("tasks", "show", str(task.pk), monkeypatch=monkeypatch, columns=80))
    assert re.search(r"created_at +\S+Z  \(3h 5m ago\)", text)
    assert re.search(r"error +RuntimeError: as asked", text)


def test_a_narrow_terminal_gets_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    submit()
    text = on_terminal("tasks", "list", "--no-color", monkeypatch=monkeypatch, columns=80)
    assert max(len(line) for line in without_styles(text).splitlines()) <= 80
    assert "ERROR" not in text


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_ids_states_and_reasons_stay_in_one_piece(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    type(letter).objects.update(actor="a_long_name_of_an_actor." * 3, error_message="words " * 40)
    text = without_styles(on_terminal("dlq", "list", "--no-color", monkeypatch=monkeypatch, columns=columns))
    assert max(len(line) for line in text.splitlines()) <= columns
    assert str(letter.pk) in text
    assert ("max_retries_exceeded" in text) == ("REASON" in text) == (columns >= 120)
    assert (str(task.pk) in text) == (columns >= 160)


@pytest.mark.parametrize("words", [["tasks", "list"], ["tasks", "show"]])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_hostile_text_reaches_no_terminal_as_a_command(
    words: list[str], is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = submit(actor="note", payload={"x": HOSTILE}, tags=[HOSTILE])
    Task.objects.filter(pk=task.pk).update(error=f"{HOSTILE}: {HOSTILE}")
    words = words if words[-1] == "list" else [*words, str(task.pk)]
    text = on_terminal(*words, "--no-color", monkeypatch=monkeypatch) if is_terminal else callboard(*words)
    for forbidden in ("\x1b[2J", "\x1b]", "\x07", "\u202e", "\x9b"):
        assert forbidden not in text
    assert "[red]tag[/red]" in text


def test_every_state_has_a_look() -> None:
    words = {*Status, *WorkerStatus, *AttemptOutcome, *(one.name for one in Resolution)}
    assert words <= set(output.STYLES)


@pytest.mark.parametrize(
    "words",
    [
        ["tasks", "list"], ["tasks", "show"], ["tasks", "cancel"], ["tasks", "retry"],
        ["dlq", "list"], ["dlq", "show"], ["dlq", "redrive"], ["dlq", "discard"],
        ["queues", "list"], ["queues", "pause"], ["queues", "resume"],
        ["workers", "list"], ["workers", "show"], ["workers", "drain"], ["stats"], ["submit"], ["load"], ["verify"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_help_has_examples(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        callboard(*words, "--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n  manage.py callboard " + " ".join(words) in text
    assert "--json" in text


def test_a_database_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("connection refused\n\tIs the server running?\n")

    monkeypatch.setattr(queues, "pause", fail)
    assert refused("queues", "pause", "default")[0] == "the database does not answer as it should: connection refused"


def _parsers(parser: Any) -> Any:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _parsers(child)


def _examples() -> list[str]:
    """Collect the examples of each command's help."""
    lines = []
    for parser in _parsers(Command().create_parser("manage.py", "callboard")):
        lines += re.findall(r"^  manage\.py callboard (.*)$", parser.epilog or "", re.M)
    return [re.sub(r"\s{2,}\(.*\)$|\s\|.*$", "", line) for line in lines]


@pytest.mark.parametrize("line", _examples())
def test_every_example_can_be_typed(line: str) -> None:
    words = [str(new_id()) if word == "ID" else word for word in shlex.split(line)]
    assert Command().create_parser("manage.py", "callboard").parse_args(words).run
