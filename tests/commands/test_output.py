"""What all commands print: tables on a terminal, plain lines in a pipe, and no control sequence of a payload."""

import re
from datetime import timedelta

import pytest

from tasks.management.callboard import output
from tasks.models import Task, Worker
from tasks.states import AttemptOutcome, Resolution, Status, WorkerStatus
from tests.commands.cli import HOSTILE, callboard, on_terminal, without_styles
from tests.factories import make_task, open_letter, submit

pytestmark = pytest.mark.django_db


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


@pytest.mark.parametrize("columns", [40, 50, 60])
@pytest.mark.parametrize(
    "words", [["tasks", "list"], ["tasks", "show", "ID"], ["dlq", "list"], ["workers", "list"], ["stats"]], ids=" ".join
)
def test_an_id_stays_whole_on_a_narrow_terminal(
    words: list[str], columns: int, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(Status.DEAD)
    ids = {"tasks": task.pk, "dlq": open_letter(task).pk, "workers": worker.pk, "stats": worker.pk}
    words = [str(task.pk) if word == "ID" else word for word in words]
    text = without_styles(on_terminal(*words, "--no-color", monkeypatch=monkeypatch, columns=columns))
    assert max(len(line) for line in text.splitlines()) <= columns
    assert any(str(ids[words[0]]) in line for line in text.splitlines())


def test_a_verb_prints_whole_ids_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [submit(), submit()]
    text = on_terminal("tasks", "cancel", *(str(task.pk) for task in tasks), monkeypatch=monkeypatch, columns=40)
    assert all(str(task.pk) in without_styles(text).splitlines() for task in tasks)
    assert text.count("CANCELLED") == 2


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
