"""A reader that goes away and a full disk: no command prints a traceback or ends with a code of the interpreter."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn

import pytest
from django.core.management import call_command

from tasks.management.streams import guarded
from tests.commands.leaves import in_vain, leaves
from tests.factories import submit

ROOT = Path(__file__).resolve().parents[2]
FULL = Path("/dev/full")

needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


@contextmanager
def closed_pipe() -> Iterator[io.StringIO]:
    """Make standard output a pipe whose reader has gone; yield what is written on standard error."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout, redirect_stdout(stdout), redirect_stderr(io.StringIO()) as stderr:
        yield stderr


@contextmanager
def full_disk() -> Iterator[io.StringIO]:
    """Make standard output a file on a full disk; yield what is written on standard error."""
    with FULL.open("w") as stdout, redirect_stdout(stdout), redirect_stderr(io.StringIO()) as stderr:
        yield stderr


def run(leaf: tuple[str, ...]) -> str | int | None:
    """Run a command as manage.py does; give its exit code."""
    words = ["completion", "bash"] if leaf == ("completion",) else in_vain(leaf)
    if leaf == ("submit",):
        words = ["submit", "note"]
    if leaf == ("load",):
        words = ["load", "--actors", "note", "--count", "1"]
    if leaf[-1] in {"list", "failures"} or leaf == ("stats",):
        words = list(leaf)
    with pytest.raises(SystemExit) as caught, guarded():
        call_command("callboard", *words)
    return caught.value.code


#: They print nothing on standard output when what they are asked for is not there.
SILENT = {
    ("tasks", "show"), ("tasks", "signal"), ("tasks", "workflow"), ("dlq", "show"), ("workers", "show"), ("demo",),
    ("batches", "show"), ("healthcheck",), ("operations", "show"),
    ("dlq", "redrive"), ("dlq", "failure"), ("dlq", "snooze"),
    ("queues", "pause"), ("queues", "resume"), ("workers", "start"), ("workers", "status"), ("workers", "stop"),
    ("verify",), *(("schedules", verb) for verb in
    ("add", "backfill", "pause", "preview", "remove", "resume", "run", "show")),
}  # fmt: skip
SPEAKING = [leaf for leaf in leaves() if leaf not in SILENT]


@pytest.mark.django_db
@pytest.mark.parametrize("leaf", SPEAKING, ids=" ".join)
def test_a_command_whose_reader_has_gone_ends_in_silence(leaf: tuple[str, ...]) -> None:
    with closed_pipe() as stderr:
        assert run(leaf) is None
    assert stderr.getvalue() == ""


@needs_full
@pytest.mark.django_db
@pytest.mark.parametrize("leaf", SPEAKING, ids=" ".join)
def test_a_command_that_cannot_write_says_so_and_ends_with_1(leaf: tuple[str, ...]) -> None:
    with full_disk() as stderr:
        assert run(leaf) == 1
    assert stderr.getvalue() == "cannot write: No space left on device\n"


@pytest.mark.django_db
def test_what_a_verb_did_is_done_though_nobody_reads_it() -> None:
    task = submit()
    with closed_pipe(), pytest.raises(SystemExit), guarded():
        call_command("callboard", "tasks", "cancel", str(task.pk))
    task.refresh_from_db()
    assert task.status == "CANCELLED"


def test_the_exit_code_of_a_failure_is_kept() -> None:
    with closed_pipe(), pytest.raises(SystemExit) as caught, guarded():
        _fail()
    assert caught.value.code == 2


def _fail() -> NoReturn:
    sys.stdout.write("something")
    sys.exit(2)


def test_a_connection_to_a_server_that_breaks_is_an_error_as_before() -> None:
    with pytest.raises(BrokenPipeError), guarded():
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize(
    ("words", "redirection", "code", "says"),
    [
        ("callboard actors list", "> /dev/full", 1, "cannot write: No space left on device"),
        ("callboard actors list", "> /dev/full 2>&1", 1, ""),
        ("callboard tasks show 1", "2> /dev/full", 2, ""),
        ("callboard tasks list --help", "| true", 0, ""),
    ],
)
@needs_full
def test_a_shell_gets_a_code_and_no_traceback(words: str, redirection: str, code: int, says: str) -> None:
    line = f"set -o pipefail; {sys.executable} manage.py {words} {redirection}"
    answer = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr.strip()) == (code, says)
