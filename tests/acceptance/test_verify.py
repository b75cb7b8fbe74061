"""``callboard verify``: sound stacks pass, broken ones fail, and nothing is left behind."""

import io
import json
import re
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError

from tasks.management.callboard.verification import checks, drill
from tasks.management.callboard.verification.client import Client
from tasks.management.callboard.verification.trial import Failed, Skipped, Trial
from tasks.models import ApiToken, Worker
from tests.acceptance.fake_stack import STAFF, USER, FakeStack, serving
from tests.acceptance.test_up import Project

CHECKS = [
    "answers", "runs a task", "cancels", "priority order", "retries with backoff", "dead letters, re-drive",
    "idempotency keys", "submission limit",
]  # fmt: skip


def verify(stack: FakeStack, *words: str, user_token: bool = True) -> tuple[int, dict[str, tuple[str, str]]]:
    """Verify a fake stack; return the exit code, and verdict and detail by check."""
    out = io.StringIO()
    code = 0
    with serving(stack) as url:
        options = ["--url", url, "--token", STAFF, *(["--user-token", USER] if user_token else [])]
        try:
            call_command(
                "callboard", "verify", *options, "--patience", "2", "--json", *words, stdout=out, stderr=io.StringIO()
            )
        except CommandError as error:
            code = error.returncode
    answer = json.loads(out.getvalue())
    assert answer["ok"] == (code == 0)
    return code, {one["name"]: (one["verdict"], one["detail"]) for one in answer["checks"]}


@pytest.mark.django_db
def test_a_sound_stack_passes() -> None:
    code, reports = verify(FakeStack())
    assert code == 0
    assert {name: verdict for name, (verdict, _) in reports.items()} == dict.fromkeys(CHECKS, "PASSED")


@pytest.mark.django_db
def test_a_stack_that_breaks_the_order_on_purpose_fails() -> None:
    code, reports = verify(FakeStack("fifo"))
    assert code == 1
    assert [name for name, (verdict, _) in reports.items() if verdict == "FAILED"] == ["priority order"]


@pytest.mark.django_db
def test_a_stack_that_runs_nothing_is_not_tried_any_further() -> None:
    code, reports = verify(FakeStack("wrong result"))
    assert code == 1
    assert {name: verdict for name, (verdict, _) in reports.items()} == {"answers": "PASSED", "runs a task": "FAILED"}


def check(name: str, stack: FakeStack) -> str:
    """Run only the check with this function's name."""
    with serving(stack) as url:
        trial = Trial(Client(url, STAFF), limited=Client(url, USER), patience_seconds=1)
        return str(getattr(checks, name)(trial))


@pytest.mark.parametrize(
    ("flaw", "name", "says"),
    [
        ("not ready", "answers", "/health: 503 not_ready"),
        ("no workers", "answers", "/health: workers: none"),
        ("no demo_fail", "answers", "no actor demo_fail: start the stack with BUILTIN_ACTORS=true"),
        ("wrong result", "runs", "got something else"),
        ("paused", "runs", "a task of echo is still PENDING (its queue is paused, or no worker serves it) after 1 s"),
        ("cannot cancel", "cancels", "a task of echo is still PENDING after 1 s"),
        ("fifo", "orders", "in 625 of 625 pairs a task of priority 1 started before one of 8"),
        ("fifo in band", "orders", "in 625 of 625 pairs a task of priority 8 started before one of 10"),
        ("no backlog", "orders", "only 0% of the lower tasks waited"),
        ("hasty", "retries", "expected a retry after 1 to 1.25 s, got 0.00 s"),
        ("lazy", "retries", "expected 3 failed attempts, got FAILED"),
        ("no letter", "redrives", "expected dead letters ['OPEN'], newest first, got []"),
        ("wrong reason", "redrives", "expected the reason max_retries_exceeded, got gave_up"),
        ("no second life", "redrives", "has no second dead letter after 1 s"),
        ("redrives twice", "redrives", "expected 409, got 200"),
        ("forgetful", "deduplicates", "expected 200, got 201"),
        ("careless", "deduplicates", "expected 422, got 200"),
        ("endless", "limits", "expected 429 once the bucket is empty, got 201 10 times"),
        ("no wait", "limits", "expected Retry-After in seconds with the 429, got ''"),
    ],
)
def test_what_was_broken_on_purpose_is_found(flaw: str, name: str, says: str) -> None:
    with pytest.raises(Failed) as caught:
        check(name, FakeStack(flaw))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("flaw", "name", "says"),
    [
        ("no keys", "deduplicates", "not available: this stack does not support idempotency keys"),
        ("no limit", "limits", "not available: this stack does not limit submissions"),
    ],
)
def test_what_a_stack_does_not_offer_is_skipped(flaw: str, name: str, says: str) -> None:
    with pytest.raises(Skipped, match=says):
        check(name, FakeStack(flaw))


def test_separate_workers_for_the_low_band_need_no_order_with_the_high_one() -> None:
    served = [["default.high", "default.medium"], ["default.low"]]
    workers = [{"status": "ALIVE", "threads": 4, "queues": queues} for queues in served]
    detail = check("orders", FakeStack(workers=workers))
    assert "submitted as 8, 10" in detail
    assert "other workers serve the low band" in detail


@pytest.mark.django_db
def test_without_a_token_of_a_user_the_limit_is_not_tried() -> None:
    _, reports = verify(FakeStack(), user_token=False)
    assert reports["submission limit"][0] == "SKIPPED"
    assert "--user-token" in reports["submission limit"][1]


@pytest.mark.django_db
def test_the_drill_needs_the_database_of_the_stack() -> None:
    _, reports = verify(FakeStack(), "--destructive")
    assert reports["crash drill"][0] == "SKIPPED"


@pytest.mark.django_db
def test_everything_made_is_cancelled_discarded_and_removed() -> None:
    stack = FakeStack()
    verify(stack)
    assert len(stack.tasks) > 100
    assert sorted(stack.deleted) == sorted(stack.tasks)
    assert not [one for one in stack.tasks.values() if one["delay_seconds"] and one["status"] == "PENDING"]
    assert {one["resolution"] for one in stack.letters} == {"REDRIVEN", "DISCARDED"}
    assert len({tuple(one["tags"]) for one in stack.tasks.values()}) == 1


@pytest.mark.django_db
def test_where_nothing_can_be_removed_it_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    stack = FakeStack("no delete")
    errors = io.StringIO()
    with serving(stack) as url:
        call_command(
            "callboard", "verify", "--url", url, "--token", STAFF, "--user-token", USER, stdout=io.StringIO(),
            stderr=errors,
        )  # fmt: skip
    assert re.search(r"\d+ ended tasks with the tag verify-[0-9a-f]{8} are left\.", errors.getvalue())


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as caught:
        call_command("callboard", "verify", *words, stdout=io.StringIO(), stderr=io.StringIO())
    return str(caught.value)


@pytest.mark.django_db
def test_where_nothing_answers_that_is_the_one_failure() -> None:
    with serving(FakeStack()) as url:
        gone = url
    assert refused("--url", gone, "--token", "x") == "1 of 1 checks failed: answers"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--url", "ftp://x", "--token", "x"], "--url: expected http://host:port"),
        (["--url", "http://127.0.0.1:1", "--token", "@/does/not/exist"], "cannot read the token in /does/not/exist"),
        (
            ["--url", "http://127.0.0.1:1", "--token", "x", "--patience", "0"],
            "--patience: expected a number of seconds",
        ),
    ],
)
def test_a_wrong_option_is_one_line(words: list[str], says: str) -> None:
    assert says in refused(*words)


def test_without_a_token_it_says_where_to_get_one(tmp_path: Path, settings: Any) -> None:
    settings.VAR_DIR = tmp_path
    assert refused() == "no token: give --token, or start the stack with `make run`, which creates one"


@pytest.mark.django_db
def test_the_temporary_token_is_not_a_staff_token_and_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def limits(trial: Any) -> str:
        seen.append(ApiToken.objects.get().user.is_staff)
        return "as asked"

    monkeypatch.setattr("tasks.management.callboard.verification.checks.limits", limits)
    monkeypatch.setattr("tasks.management.callboard.verify._is_beside", lambda _: True)
    verify(FakeStack(), user_token=False)
    assert seen == [False]
    assert not get_user_model().objects.exists()


# --- The crash drill -----------------------------------------------------------------------------------------------


def drilled(monkeypatch: pytest.MonkeyPatch, *, host: str = "", kill: Exception | None = None) -> str:
    """Run the drill against a fake stack whose worker claims to be on this machine; nothing is killed."""
    worker = Worker(host=host or socket.gethostname(), pid=1)

    def pretend(_pid: int, _signal: int) -> None:
        if kill is not None:
            raise kill

    monkeypatch.setattr(drill, "_worker_of", lambda _: worker)
    monkeypatch.setattr(drill, "os", SimpleNamespace(kill=pretend))
    with serving(FakeStack()) as url:
        return drill.survives_a_crash(Trial(Client(url, STAFF), patience_seconds=1), is_beside=True)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"host": "elsewhere"}, "the worker runs on elsewhere"),
        ({"kill": ProcessLookupError()}, "process 1 does not exist here"),
        ({"kill": PermissionError()}, "process 1 belongs to another account"),
    ],
)
def test_a_worker_that_cannot_be_killed_from_here_skips_the_drill(
    given: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Skipped, match=says):
        drilled(monkeypatch, **given)


def test_a_task_that_did_not_run_again_fails_the_drill(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failed, match="expected the task to run again, it is SUCCEEDED after attempt 1"):
        drilled(monkeypatch)


# --- Real stacks ---------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Any:
    project = Project(tmp_path / "project")
    yield project
    project.end()


def _verified(project: Project, *words: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    answer = project.run("callboard", "verify", "--json", *words)
    assert answer.stdout, answer.stderr
    return answer, {one["name"]: one for one in json.loads(answer.stdout)["checks"]}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_running_stack_passes_even_the_crash_drill(project: Project) -> None:
    with project.running():
        answer, reports = _verified(project, "--destructive")
        assert answer.returncode == 0, reports
        assert {name: one["verdict"] for name, one in reports.items()} == dict.fromkeys(
            [*CHECKS, "crash drill"], "PASSED"
        )


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_running_stack_whose_dispatcher_prefers_low_priorities_fails(project: Project) -> None:
    _break(
        project.folder / "tasks/scheduler/capacity.py",
        "range(priorities.highest, priorities.lowest - 1, -1)",
        "range(priorities.lowest, priorities.highest + 1)",
    )
    with project.running():
        answer, reports = _verified(project)
    assert answer.returncode == 1
    assert [name for name, one in reports.items() if one["verdict"] == "FAILED"] == ["priority order"], reports
    assert "checks failed: priority order" in answer.stderr


def _break(path: Path, right: str, wrong: str) -> None:
    text = path.read_text()
    assert right in text, f"{path} is written differently now; break it in another way"
    path.write_text(text.replace(right, wrong))
