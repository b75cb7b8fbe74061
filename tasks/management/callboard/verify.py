"""``callboard verify``: check a running stack end to end, through its API like any client."""

import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import DatabaseError
from django.utils import timezone
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from scheduler_site.embedded.private import read_pairs
from tasks.conf import conf
from tasks.contract import fields
from tasks.lifecycle import Author, tokens
from tasks.management.callboard import operator, parsing
from tasks.management.callboard.output import Column, Output
from tasks.management.callboard.verification import checks, drill
from tasks.management.callboard.verification.client import Client, Unreachable
from tasks.management.callboard.verification.trial import Failed, Skipped, Trial
from tasks.models import Task
from tasks.states import Door

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_PATIENCE_SECONDS = 120.0
LIMITED_TOKEN_LIVES = timedelta(hours=1)

_COLUMNS = (
    Column("CHECK", "name", wraps=True),
    Column("VERDICT", "verdict"),
    Column("SECONDS", "seconds", is_number=True),
    Column("DETAIL", "detail", wraps=True),
)


class Check(NamedTuple):
    """A check: its name and function. If a needed check fails, the others are skipped: they would wait in vain."""

    name: str
    run: Callable[[Trial], str]
    is_needed: bool = False


class Report(NamedTuple):
    """The result of a check; ``verdict`` is PASSED, FAILED or SKIPPED."""

    name: str
    verdict: str
    seconds: float
    detail: str


def register(commands: parsing.Commands) -> None:
    """Add the command."""
    parser = parsing.add_command(
        commands, "verify", verify,
        help="check a running stack end to end, and remove the test tasks; exit with 1 if a check fails",
        examples=[
            "verify                                   (beside `make run`)",
            "verify --destructive                     (also kills a worker process)",
            "verify --url https://board.example.org --token @token.txt --user-token @user-token.txt --json",
        ],
    )  # fmt: skip
    parser.add_argument(
        "--url", help=f"the address of the api (default: that of a running `manage.py up`, else {DEFAULT_URL})"
    )
    parser.add_argument(
        "--token", help="a token of staff, or @file (default: the one that `make run` wrote to var/credentials)"
    )
    parser.add_argument(
        "--user-token", help="a token of a user who is not staff, or @file, to check the submission limit "
        "(default: a temporary one, if DATABASE_URL is that of the stack)"
    )  # fmt: skip
    parser.add_argument("--destructive", action="store_true", help="also kill a worker process in the middle of a task")
    parser.add_argument(
        "--patience", type=float, default=DEFAULT_PATIENCE_SECONDS, metavar="SECONDS",
        help="the time-out of each step (default: %(default)g)",
    )  # fmt: skip


def verify(options: Namespace, out: Output) -> None:
    """Make all checks, print the verdicts, and fail if a check failed."""
    patience = parsing.read("--patience", fields.seconds(above=0), options.patience)
    trial = Trial(_client(options), patience_seconds=patience)
    reports = list(_reports(trial, options, out))
    if out.is_json:
        failed = _failed(reports)
        out.json(
            {"url": trial.client.url, "tag": trial.tag, "ok": not failed, "checks": [one._asdict() for one in reports]}
        )
    else:
        out.rows([one._asdict() for one in reports], _COLUMNS)
    if failed := _failed(reports):
        raise CommandError(f"{len(failed)} of {len(reports)} checks failed: {', '.join(failed)}")


def _failed(reports: Sequence[Report]) -> list[str]:
    return [one.name for one in reports if one.verdict == "FAILED"]


def _reports(trial: Trial, options: Namespace, out: Output) -> Iterator[Report]:
    """Make the first check, and the others if it passes."""
    first = Check("answers", checks.answers)
    with _progress(out) as tell:
        report = _make(first, trial, tell)
        yield report
        if report.verdict != "PASSED":
            return
        with _limited(trial, options) as is_beside, _cleaning_up(trial, out):
            for check in _checks(is_destructive=options.destructive, is_beside=is_beside):
                report = _make(check, trial, tell)
                yield report
                if check.is_needed and report.verdict == "FAILED":
                    return


def _checks(*, is_destructive: bool, is_beside: bool) -> list[Check]:
    found = [
        Check("runs a task", checks.runs, is_needed=True),
        Check("cancels", checks.cancels),
        Check("priority order", checks.orders),
        Check("retries with backoff", checks.retries),
        Check("dead letters, re-drive", checks.redrives),
        Check("idempotency keys", checks.deduplicates),
        Check("submission limit", checks.limits),
    ]
    if is_destructive:
        found.append(Check("crash drill", partial(drill.survives_a_crash, is_beside=is_beside)))
    return found


def _make(check: Check, trial: Trial, tell: Callable[[str], None]) -> Report:
    tell(check.name)
    began = time.monotonic()
    try:
        verdict, detail = "PASSED", check.run(trial)
    except (Failed, Unreachable) as error:
        verdict, detail = "FAILED", str(error)
    except Skipped as error:
        verdict, detail = "SKIPPED", str(error)
    return Report(check.name, verdict, round(time.monotonic() - began, 2), detail)


@contextmanager
def _progress(out: Output) -> Iterator[Callable[[str], None]]:
    """Show the current check: a bar on a terminal, a line per check elsewhere."""
    if not out.errors.is_terminal:
        yield lambda name: out.remark(f"checking: {name}")
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out.errors, transient=True) as progress:
        bar = progress.add_task("", total=None)

        def tell(name: str) -> None:
            progress.update(bar, description=name)

        yield tell


@contextmanager
def _cleaning_up(trial: Trial, out: Output) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            left = trial.clean_up()
        except Unreachable as error:
            out.remark(f"Could not clean up; the remaining tasks have the tag {trial.tag}: {error}")
        else:
            if left:
                out.remark(f"{left} ended tasks with the tag {trial.tag} are left.")


# --- Callers --------------------------------------------------------------------------------------------------------


def _client(options: Namespace) -> Client:
    token = _secret(options.token) or read_pairs(conf.VAR_DIR / "credentials").get("API_TOKEN")
    if not token:
        raise CommandError("no token: give --token, or start the stack with `make run`, which creates one")
    url = options.url or read_pairs(conf.VAR_DIR / "run.env").get("API_URL") or DEFAULT_URL
    return Client(url, token)


def _secret(given: str | None) -> str | None:
    """Read a token, or a file with it, which keeps the token out of the process list."""
    if not given or not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read the token in {given[1:]}: {error}") from error


@contextmanager
def _limited(trial: Trial, options: Namespace) -> Iterator[bool]:
    """Give the trial a caller who is not staff; yield whether this command uses the stack's database."""
    is_beside = _is_beside(trial)
    if options.user_token:
        trial.limited = Client(trial.client.url, _secret(options.user_token) or "")
    if trial.limited or not is_beside:
        yield is_beside
        return
    user: Any = get_user_model().objects.create_user(trial.tag)
    try:
        by = Author(operator.name(), Door.CLI, "a caller with a limit, for the time of the test")
        expires_at = timezone.now() + LIMITED_TOKEN_LIVES
        _, secret = tokens.issue(user=user, name="callboard verify", expires_at=expires_at, by=by)
        trial.limited = Client(trial.client.url, secret)
        yield is_beside
    finally:
        user.delete()


def _is_beside(trial: Trial) -> bool:
    """Tell whether this command uses the stack's database: a task submitted to the stack has to be in it."""
    try:
        return Task.objects.filter(pk=trial.submit("echo", {"message": "beside"})["id"]).exists()
    except (DatabaseError, ImproperlyConfigured, Failed):
        return False
