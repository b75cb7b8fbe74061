"""``docs/coming-from.md`` tells the truth about bodies, addresses, words, settings and commands.

The tests read the page itself, so that it and the code cannot drift apart. The first column of its tables has the words
of other stacks ("theirs"); every other text in code quotes is Callboard's ("ours").
"""

import json
import os
import re
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import dramatiq
import pytest
from django.core.management import call_command, get_commands, load_command_class
from django.db import connection
from django.urls import resolve
from prometheus_client.parser import text_string_to_metric_families

from dlq.models import DeadLetter
from scheduler_site import addresses, env
from tasks import current
from tasks.api import bodies, task_schemas
from tasks.conf import conf
from tasks.contract import submissions
from tasks.models import Task, new_id
from tasks.priority import BANDS, parse_priority
from tasks.rpc.services import METHODS
from tasks.states import DeathReason, Status
from tasks.telemetry import metrics
from tests import engines as engines
from tests import factories
from tests.callers import TASKS, assert_problem
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "coming-from.md").read_text()

# A whole engine inside the test's process.
inprocess_broker, idle_engine, engine = engines.inprocess_broker, engines.idle_engine, engines.engine

#: Their field names and ours; the page's table has the same pairs.
FIELDS = {
    "name": "actor",
    "job_type": "actor",
    "execution_time": "estimated_seconds",
    "timeout_seconds": "time_limit_seconds",
}
#: The statuses of a task in all five stacks.
THEIR_STATUSES = {
    *("PENDING", "ENQUEUED", "STARTED", "SUCCEEDED", "FAILED", "DEAD"),
    *("queued", "running", "completed", "failed", "retrying", "dead_letter"),
    *("pending", "scheduled"),
}


class Row(NamedTuple):
    """A line of a table."""

    theirs: str
    here: str
    differs: str


def section(title: str) -> str:
    """Give the text under a heading."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return str(text)


def rows(text: str) -> list[Row]:
    """Read the rows of a text's tables, without the headings."""
    lines = re.findall(r"^\| (.*) \|$", text, re.M)
    found = [Row(*(cell.strip() for cell in line.split(" | "))) for line in (f"{line} " for line in lines)]
    return [row for row in found if row.theirs != "theirs"]


def quoted(text: str) -> list[str]:
    """List the texts in code quotes."""
    return re.findall(r"`([^`\n]+)`", text)


def ours() -> list[str]:
    """List our texts in code quotes: those outside of first columns and code blocks."""
    prose = re.sub(r"^```.*?^```|^\|.*?\|$", "", PAGE, flags=re.M | re.S)
    return sorted(
        {one for text in [prose, *(f"{row.here} {row.differs}" for row in rows(PAGE))] for one in quoted(text)}
    )


def words(pattern: str) -> list[str]:
    """List our texts that match a pattern."""
    found = [one for one in ours() if re.fullmatch(pattern, one)]
    assert found, f"the page has nothing like {pattern}"
    return found


def pairs() -> list[Any]:
    """List the example bodies: theirs, then ours."""
    blocks = re.findall(r"^```json\n(.*?)^```", section("Bodies to copy"), re.M | re.S)
    return [
        pytest.param(theirs, mine, id=json.loads(mine)["actor"])
        for theirs, mine in zip(blocks[::2], blocks[1::2], strict=True)
    ]


def as_ours(theirs: dict[str, Any]) -> dict[str, Any]:
    """Translate their body by the page's rules."""
    body = {FIELDS.get(name, name): value for name, value in theirs.items()}
    if isinstance(body["payload"], str):
        body["payload"] = json.loads(body["payload"])
    return body


def post(caller: Any, text: str) -> Any:
    """Post a body exactly as the page prints it."""
    return caller.post(TASKS, text, content_type="application/json")


# --- Bodies ------------------------------------------------------------------------------------------------------


def test_every_body_of_theirs_is_there() -> None:
    actors = [json.loads(pair.values[1])["actor"] for pair in pairs()]
    kinds = ["sleep", "math", "http_request", "echo", "random_failure"]
    assert actors == ["simulate_work", "demo_ok", "demo_fail", "demo_hang", *kinds]


@pytest.mark.parametrize(("theirs", "mine"), pairs())
def test_a_body_of_ours_is_accepted_and_says_what_theirs_said(alice: Any, theirs: str, mine: str) -> None:
    response = post(alice, mine)
    assert response.status_code == 201, response.content
    answer, given = response.json(), json.loads(mine)
    expected = given | ({"priority": parse_priority(given["priority"])} if "priority" in given else {})
    assert {name: answer[name] for name in expected} == expected
    assert answer["status"] == "PENDING"
    assert given.items() >= as_ours(json.loads(theirs)).items()


@pytest.mark.parametrize(("theirs", "mine"), pairs())
def test_a_body_of_theirs_is_refused_and_each_foreign_field_is_named(alice: Any, theirs: str, mine: str) -> None:
    problem = assert_problem(post(alice, theirs), 400, code="invalid")
    given = json.loads(theirs)
    wrong = {(name, "unknown_field") for name in given if name not in submissions.READERS}
    wrong |= {("payload", "invalid")} if isinstance(given["payload"], str) else set()
    wrong |= {("actor", "required")}
    assert {(error["field"], error["code"]) for error in problem["errors"]} == wrong
    assert not Task.objects.exists()


def test_bodies_do_what_the_page_says(engine: Any, alice: Any) -> None:
    bodies = {json.loads(pair.values[1])["actor"]: pair.values[1] for pair in pairs()}
    # Without those that use the network, hang, or fail at random.
    run = ("simulate_work", "demo_fail", "sleep", "math", "echo")
    tasks = {actor: Task.objects.get(pk=post(alice, bodies[actor]).json()["id"]) for actor in ("demo_ok", *run)}
    ended = dict(zip(run, engine.wait_for(*(tasks[actor] for actor in run)), strict=True))
    assert {actor: task.result for actor, task in ended.items() if task.status == Status.SUCCEEDED} == {
        "simulate_work": {"action": "send_email", "recipient": "user@example.com"},
        "sleep": 2,
        "math": 5,
        "echo": "hello",
    }
    dead = ended["demo_fail"]
    assert (dead.status, dead.attempt, dead.failures) == (Status.DEAD, 2, 2)
    assert DeadLetter.objects.get(task_id=dead.pk).reason == DeathReason.MAX_RETRIES_EXCEEDED
    seconds = {actor: (task.finished_at - task.started_at).total_seconds() for actor, task in ended.items()}
    assert seconds["simulate_work"] >= 1.5
    tasks["demo_ok"].refresh_from_db()
    assert (tasks["demo_ok"].status, tasks["demo_ok"].run_at.year, tasks["demo_ok"].band) == ("PENDING", 2099, "high")


def test_fields_of_ours_exist_and_those_not_yet_built_are_refused(alice: Any) -> None:
    known = {*bodies.BODIES["Submission"]["properties"], *task_schemas.SCHEMAS["Task"]["properties"]}
    table = rows(section("Body and answer"))
    assert {name for row in table for name in quoted(row.here)} <= known
    translated = [(quoted(row.theirs), quoted(row.here)) for row in table]
    for theirs, mine in FIELDS.items():
        assert any(theirs in left and right == [mine] for left, right in translated)
    for row in table:
        if "**not yet**" in row.differs:
            (name,) = quoted(row.here)
            assert_problem(alice.submit(**{name: [str(new_id())]}), 400, field=name)


# --- Words -------------------------------------------------------------------------------------------------------


def test_every_status_of_theirs_is_one_of_ours() -> None:
    table = rows(section("Statuses"))
    theirs = {word for row in table for word in quoted(row.theirs)}
    mine = {word for row in table for word in quoted(row.here)}
    assert theirs == THEIR_STATUSES
    assert mine == {str(status) for status in Status} - {"BLOCKED"}
    assert all(quoted(row.here) for row in table)


def test_priorities_and_bands_are_those_of_the_code() -> None:
    bands = ", ".join(f"{band.name} {band.lowest}–{band.highest}" for band in BANDS)
    assert f"bands {bands} of each queue" in PAGE
    assert f"the same words, in upper or lower case: {', '.join(str(band.default) for band in BANDS)};" in PAGE


def test_every_reason_to_die_is_there() -> None:
    found = {word for row in rows(section("Retries and the DLQ")) for word in quoted(row.here)}
    assert {str(reason) for reason in DeathReason} <= found


def test_every_built_in_actor_is_there() -> None:
    declared = {
        actor.actor_name for actor in dramatiq.get_broker().actors.values() if actor.fn.__module__ == "tasks.actors"
    }
    assert declared
    assert declared <= {word for row in rows(section("Actors")) for word in quoted(row.here)}


def test_the_query_for_dead_letters_finds_one(worker: Any) -> None:
    task = factories.make_task(Status.DEAD, worker=worker)
    (query,) = re.findall(r"^```sql\n(.*?)^```", PAGE, re.M | re.S)
    with connection.cursor() as cursor:
        cursor.execute(query)
        ((task_id, actor, reason, *_),) = cursor.fetchall()
    assert (task_id, actor, reason) == (task.pk, task.actor, "max_retries_exceeded")


@pytest.mark.parametrize("call", words(r"current\.\w+\(\)"))
def test_what_an_actor_may_call_exists(call: str) -> None:
    assert callable(getattr(current, call.removeprefix("current.").removesuffix("()")))


# --- Addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", words(r"(GET |POST |PUT |PATCH |DELETE )?/[a-z].*"))
def test_an_address_leads_somewhere(staff: Any, address: str) -> None:
    method, _, path = address.rpartition(" ")
    view = resolve(path.partition("?")[0].replace("{id}", str(new_id()))).func
    kind = getattr(view, "view_class", None)
    assert (method or "GET") == "GET" if kind is None else hasattr(kind, (method or "GET").lower())
    if method in ("", "GET") and "{" not in path:
        assert staff.get(path).status_code in (200, 503)


# --- Settings ----------------------------------------------------------------------------------------------------


def read_settings(assignments: list[str], *names: str) -> subprocess.CompletedProcess[str]:
    """Read settings in a process with just this environment."""
    program = f"from scheduler_site import settings; print(*(getattr(settings, name) for name in {names!r}))"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"ENV_FILE": os.devnull} | dict(one.split("=", 1) for one in assignments),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("row", rows(section("Environment")), ids=lambda row: " ".join(quoted(row.theirs)))
def test_a_setting_is_understood_or_refused_as_the_page_says(row: Row) -> None:
    given = quoted(row.theirs)
    if row.here == "refused":
        answer = read_settings(given)
        assert answer.returncode == 1
        (name,) = (one.split("=", 1)[0] for one in given)
        assert answer.stderr.splitlines()[-1].startswith(f"django.core.exceptions.ImproperlyConfigured: {name}")
    else:
        ((name, value),) = (one.split("=", 1) for one in quoted(row.here))
        assert read_settings(given, name).stdout.strip() == value
        assert read_settings([], name).stdout.strip() != value


def test_every_foreign_setting_is_on_the_page() -> None:
    theirs = {one.split("=")[0] for row in rows(section("Environment")) for one in quoted(row.theirs)}
    assert {*env.ALSO_CALLED.values(), *env.NOT_A_SETTING} <= theirs


def test_settings_that_the_page_names_exist(monkeypatch: Any) -> None:
    for name in ("BROKER_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    # Reads every name of a broker, because the first ones are not set; SETTINGS are the names read so far.
    monkeypatch.setenv("REDIS_HOST", "cache")
    addresses.broker_url()
    named = {one.split("=")[0] for one in words(r"[A-Z][A-Z_]+(=.*)?")}
    assert named - {str(status) for status in Status} <= env.SETTINGS


def test_defaults_that_the_page_names_are_those_of_the_settings() -> None:
    named = dict(re.findall(r"`([A-Z_]+)` \((\d+)\)", PAGE))
    assert len(named) >= 3
    assert read_settings([], *named).stdout.split() == list(named.values())


# --- Commands ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", words(r"manage\.py .*"))
def test_a_command_can_be_typed(line: str) -> None:
    _, name, *arguments = shlex.split(line.replace("{id}", str(new_id())))
    command = load_command_class(get_commands()[name], name)
    # A parser that is not called from a command line raises its errors.
    command.create_parser("manage.py", name).parse_args(arguments)


@pytest.mark.django_db
@pytest.mark.parametrize("line", words(r"manage\.py sqlmigrate .*"))
def test_the_sql_of_a_migration_is_printed(line: str) -> None:
    out = StringIO()
    call_command(*shlex.split(line)[1:], stdout=out)
    assert "CREATE TABLE" in out.getvalue()


@pytest.mark.parametrize("line", words(r"make .*"))
def test_a_target_of_make_exists(line: str) -> None:
    assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("folder", words(r"[a-z_/]+/"))
def test_a_folder_exists(folder: str) -> None:
    assert (ROOT / folder).is_dir()


def test_services_of_compose_are_those_of_the_file() -> None:
    file = (ROOT / "docker-compose.yml").read_text().partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    named = {word for row in rows(section("Deployment"))[2:4] for word in quoted(f"{row.here} {row.differs}")}
    assert named == set(re.findall(r"^  (\w+):$", file, re.M))


def test_the_grpc_method_of_the_page_is_served() -> None:
    (row,) = [row for row in rows(PAGE) if "`JobSchedulerService`" in row.theirs]
    method, service = quoted(row.here)
    assert f"/{service}/{method}" in METHODS
    assert conf.GRPC_PORT == 50051


# --- Metrics -----------------------------------------------------------------------------------------------------


_METRIC = r"`(jobs?_\w+|callboard_\w+|queue_\w+|dead_letters|worker_\w+|active_workers)`"


def test_metrics_have_the_names_and_labels_of_the_page(engine: Any, alice: Any, monkeypatch: Any) -> None:
    (dead,) = engine.wait_for(Task.objects.get(pk=alice.submit("demo_fail", max_retries=0).json()["id"]))
    assert dead.status == Status.DEAD
    alice.submit(delay_seconds=3600)
    monkeypatch.setattr(metrics.gauges, "_asked_at", float("-inf"))
    labels = wait_until(_labels_of_metrics)
    for row in rows(section("Metrics and logs")):
        for name in re.findall(_METRIC, f"{row.here} {row.differs}"):
            assert name in labels
        if by := re.match(r"`(\w+)` by (.*)", row.here):
            assert set(quoted(by[2])) <= labels[by[1]], row


def _labels_of_metrics() -> dict[str, set[str]]:
    """Map each metric of a scrape to its labels; empty until the outcome has been counted."""
    families = text_string_to_metric_families(metrics.render().decode())
    found = [sample for family in families for sample in family.samples]
    if not any(sample.name == "jobs_completed_total" for sample in found):
        return {}
    return {re.sub("_(bucket|sum|count)$", "", sample.name): set(sample.labels) - {"le"} for sample in found}
