"""Exit codes: 0, 1 refused, 2 usage, 124 time-out; the same for every command, as docs/cli.md says."""

import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from django.core.management.base import CommandError

from scheduler_site.embedded.errors import LaunchError
from tasks.management.callboard import exit_codes, pool
from tasks.models import new_id
from tests.commands.cli import callboard
from tests.commands.leaves import PRINT_ALWAYS, in_vain, leaves
from tests.factories import submit

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.django_db

#: The same in every process of a parallel run, which compare the names of tests.
ID = "01890000-0000-7000-8000-000000000001"


def code_of(*words: str) -> int:
    try:
        callboard(*words)
    except CommandError as error:
        return error.returncode
    return 0


@pytest.mark.parametrize("leaf", leaves(), ids=" ".join)
def test_an_unknown_option_is_2(leaf: tuple[str, ...]) -> None:
    assert code_of(*leaf, "--no-such-option") == 2


@pytest.mark.parametrize("leaf", [one for one in leaves() if one not in PRINT_ALWAYS], ids=" ".join)
def test_asking_for_what_is_not_there_is_1(leaf: tuple[str, ...]) -> None:
    assert code_of(*in_vain(leaf)) == 1


@pytest.mark.parametrize("leaf", sorted(PRINT_ALWAYS - {("completion",)}), ids=" ".join)
def test_an_empty_list_is_0(leaf: tuple[str, ...]) -> None:
    assert code_of(*leaf) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["tasks", "list", "--limit", "0"],
        ["tasks", "list", "--status", "nowhere"],
        ["dlq", "list", "--died-after", "noon"],
        ["workers", "list", "--status", "tired"],
        ["tasks", "cancel", ID, "--reason", "two\nlines"],
        ["queues", "pause", "default", "--reason", "x" * 201],
        ["stats", "--minutes", "0"],
        ["submit", "note", "--payload", "{"],
        ["submit", "note", "--payload", "@/does/not/exist"],
        ["submit", "note", "--priority", "urgent"],
        ["submit", "note", "--delay", "-1"],
        ["load", "--rate", "0"],
        ["load", "--actors", "echo=x"],
        ["load", "--priorities", "urgent"],
        ["verify", "--patience", "0"],
        ["workers", "start", "0"],
        ["workers", "start", "1", "--name", "../x"],
        ["workers", "start", "1", "--bands", "urgent"],
        ["workers", "stop", "--name", "a", "--all"],
        ["completion", "csh"],
        ["tasks", "show", "1"],
        ["tasks"],
    ],
    ids=" ".join,
)
def test_a_value_that_an_option_does_not_take_is_2(words: list[str]) -> None:
    assert code_of(*words) == 2


def test_a_verb_that_some_rows_refuse_is_1_and_0_if_none_does() -> None:
    assert code_of("tasks", "cancel", str(submit().pk), str(new_id())) == 1
    assert code_of("tasks", "cancel", str(submit().pk)) == 0


def test_waiting_too_short_a_time_is_124(instead_of_sleep) -> None:
    assert code_of("submit", "note", "--wait", "0") == 124


def test_a_pool_whose_workers_do_not_come_in_time_is_124(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WAIT_SECONDS = 0
    monkeypatch.setattr(pool, "_START_SECONDS", 0)
    started = mock.Mock(name="pool", parameters={"processes": 1})
    started.last_line.return_value = "waiting"
    with pytest.raises(CommandError) as caught:
        pool._await_workers(started, mock.Mock(pid=os.getpid(), poll=lambda: None))
    assert caught.value.returncode == 124
    assert not isinstance(caught.value, LaunchError)


def test_the_table_of_the_docs_has_these_codes() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)}
    names = ("REFUSED", "USAGE", "TIMED_OUT", "INTERRUPTED")
    assert codes == {0, *(getattr(exit_codes, name) for name in names)}


@pytest.mark.parametrize(("words", "code"), [(["tasks", "show", "1"], 2), ([], 2)])
def test_the_shell_sees_the_code(words: list[str], code: int) -> None:
    command = [sys.executable, "manage.py", "callboard", *words]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == code
