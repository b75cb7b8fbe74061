"""Processes that submit a task and end at once: the task starts as soon as with a process that stays."""

from contextlib import closing

import pytest

from tests.acceptance.harness.history import Submission
from tests.acceptance.harness.proxy import Proxy
from tests.acceptance.harness.rig import Rig

pytestmark = pytest.mark.slow

TIMES = 3
#: The scheduler polls once a second, so of three tasks that wait for the poll one nearly always starts later.
SOON_SECONDS = 0.3

_SUBMIT = """
import os, django
django.setup()
from tasks.lifecycle import Submission, submit
def submit_one():
    submit(Submission(actor="effect", tags=[os.environ["TAG"]]))
"""
#: Programs that submit one task, which sends their only wake-up, and end.
SUBMITTERS = {
    "a script": f"{_SUBMIT}submit_one()",
    "a script that exits with an error": f"{_SUBMIT}submit_one(); raise SystemExit(3)",
    "a forked child": f"""{_SUBMIT}
if os.fork():
    os.wait()
else:
    submit_one()
""",
    "a child of multiprocessing": f"""{_SUBMIT}
import multiprocessing
child = multiprocessing.get_context("fork").Process(target=submit_one)
child.start()
child.join()
""",
    "a child of a parent that has spoken": f"""{_SUBMIT}
from django.db import connections
from tasks.broker.notifier import Event, notifier
notifier.notify(Event.DUE)
notifier.flush()
if os.fork():
    os.wait()
else:
    submit_one()
""",
}


@pytest.fixture
def running(rig: Rig) -> Rig:
    rig.start_scheduler()
    rig.start_workers(threads=2)
    rig.await_workers()
    # The first task waits for imports.
    rig.client.submit("effect")
    rig.settle(15)
    return rig


def submit_by(rig: Rig, *arguments: str) -> None:
    name = f"run-{len(rig.client.history.submissions)}"
    rig.run(*arguments, *(["--tag", name] if "submit" in arguments else []), env={"TAG": name})
    rig.client.history.submissions.append(Submission(name, "ok", 1, ()))


def assert_soon(rig: Rig) -> None:
    """Check that every task except the first has started soon after its submission."""
    rig.settle(10)
    rows = rig.database.query(
        "SELECT extract(epoch FROM attempt.started_at - task.created_at)::float FROM callboard_task AS task"
        " JOIN callboard_attempt AS attempt ON attempt.task_id = task.id ORDER BY task.id OFFSET 1"
    )
    delays = [round(delay, 3) for (delay,) in rows]
    assert len(delays) == TIMES
    assert max(delays) < SOON_SECONDS, delays
    rig.verify(within=8)


@pytest.mark.parametrize("submitter", SUBMITTERS)
def test_a_task_starts_at_once_although_its_submitter_has_ended(running: Rig, submitter: str) -> None:
    for _ in range(TIMES):
        submit_by(running, "-c", SUBMITTERS[submitter])
    assert_soon(running)


def test_the_task_of_a_command_starts_at_once(running: Rig) -> None:
    for _ in range(TIMES):
        submit_by(running, "manage.py", "callboard", "submit", "effect")
    assert_soon(running)


_SPEAK_TO_SILENCE = """
import sys, time, django
django.setup()
from tasks.broker.notifier import Event, notifier
notifier.notify(Event.DUE)
began = time.monotonic()
import atexit
atexit._run_exitfuncs()
print(time.monotonic() - began)
"""


def test_a_process_ends_at_once_and_silently_when_the_database_does_not_answer(rig: Rig) -> None:
    with closing(Proxy(rig.database.url)) as proxy, proxy.holding():
        ended = rig.run("-c", _SPEAK_TO_SILENCE, env={"DATABASE_URL": proxy.url})
    assert 0.4 < float(ended.stdout) < 1
    assert ended.stderr == ""
    rig.was_verified = True
