"""The examples of README and docs run as they stand; the files, links, settings and targets that they name exist."""

import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import django
import dramatiq
import pytest
from django.core.management import get_commands, load_command_class
from django.db import connection
from django.test import Client

from scheduler_site import addresses, env
from tasks.conf import PLATFORM_BUILDS, Conf
from tasks.models import ApiToken, Task, new_id
from tasks.setting import declared
from tasks.states import AttemptOutcome, Status

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
#: Their first columns hold the words of other stacks; tests/test_coming_from.py reads that page column by column.
OTHER_STACKS = "coming-from.md"
#: Words in capitals that are settings of something else, or no settings.
NOT_SETTINGS = {
    "DRAMATIQ_BROKER",
    "REST_FRAMEWORK",
    "TIME_ZONE",
    "SCRIPT_NAME",
    "INSTALLED_APPS",
    "COMPOSE_PROFILES",
    "PROMETHEUS_PORT",
    "GRAFANA_PORT",
    "OTEL_TRACES_SAMPLER",
}
#: The pages show the imports of Django 6.
TASKS_FRAMEWORK = "django.tasks" if django.VERSION >= (6,) else "django_tasks"
OURS = [page for page in PAGES if page.name != OTHER_STACKS]


def _blocks(language: str):
    for page in PAGES:
        for number, text in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)):
            yield pytest.param(text, id=f"{page.name}-{language}-{number}")


@pytest.fixture
def _forget_actors():
    actors = dramatiq.get_broker().actors
    before = dict(actors)
    yield
    actors.clear()
    actors.update(before)


@pytest.mark.parametrize("text", list(_blocks("python")))
@pytest.mark.usefixtures("db", "_forget_actors")
def test_python_example_runs(text: str):
    text = text.replace("from django.tasks import", f"from {TASKS_FRAMEWORK} import")
    exec(compile(text, "<example>", "exec"), {"__name__": "example"})


@pytest.mark.usefixtures("db", "_forget_actors")
def test_the_readme_actor_can_be_sent_and_called():
    names: dict[str, Any] = {"__name__": "example"}
    (text,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    exec(compile(text, "<example>", "exec"), names)
    assert names["greet"]("Ada", times=2) == "Hello Ada! Hello Ada!"
    message = names["greet"].send("Ada", times=2)
    assert Task.objects.get(pk=message.message_id).args == ["Ada"]


def _curl_lines():
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S):
            if block.startswith("curl"):
                yield pytest.param(block, id=page.name)


@pytest.mark.parametrize("line", list(_curl_lines()))
def test_curl_example_is_accepted(line: str, admin_user):
    _, secret = ApiToken.issue(user=admin_user, name="docs")
    words = shlex.split(line.replace("\\\n", " "))
    url = next(word for word in words if "/tasks" in word)
    body = words[words.index("-d") + 1]
    path = url.replace("$URL", "/api/v1").replace("http://127.0.0.1:8000", "")
    answer = Client().post(path, body, content_type="application/json", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 201, answer.content
    sent, accepted = json.loads(body), answer.json()
    for given, task in zip(sent.get("tasks", [sent]), accepted.get("tasks", [accepted]), strict=True):
        assert Task.objects.get(pk=task["id"]).actor == given["actor"]


@pytest.mark.parametrize("text", list(_blocks("sql")))
@pytest.mark.usefixtures("db")
def test_sql_example_runs(text: str):
    with connection.cursor() as cursor:
        cursor.execute(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target, _, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(#([^)]+))?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in _anchors(linked), f"{page.name} links to #{anchor}, a heading that {linked.name} has not"


def _anchors(page: Path) -> set[str]:
    """List the anchors that the host of the repository gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path):
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page.read_text())
    inside = [
        one for one in named if (ROOT / one.partition("/")[0]).is_dir() and not one.startswith(("var/", ".venv/"))
    ]
    assert [one for one in inside if not (ROOT / one).exists()] == []


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.name)
def test_settings_that_a_page_names_exist(page: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("BROKER_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    # Reads every name of a broker, because the first ones are not set; SETTINGS are the names read so far.
    monkeypatch.setenv("REDIS_HOST", "cache")
    addresses.broker_url()
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", page.read_text()))
    known = {
        *env.SETTINGS,
        *(setting.name for setting in declared(Conf)),
        *env.ALSO_CALLED.values(),
        *env.NOT_A_SETTING,
        *env.FORMER_NAMES.values(),
        *PLATFORM_BUILDS,
        *map(str, Status),
        *map(str, AttemptOutcome),
    }
    assert named - known - NOT_SETTINGS == set()


@pytest.mark.parametrize("text", list(_blocks("log")))
def test_log_lines_of_an_example_are_written_somewhere(text: str):
    for line in text.splitlines():
        assert f'"{line}"' in _source(), f"nothing logs “{line}”"


@cache
def _source() -> str:
    files = [file for folder in ("tasks", "dlq", "scheduler_site") for file in (ROOT / folder).rglob("*.py")]
    return "\n".join(file.read_text() for file in files)


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.name)
def test_pages_of_the_admin_that_a_page_names_open(page: Path, admin_client: Client):
    for address in re.findall(r"`(/admin/[^`]*)`", page.read_text()):
        assert admin_client.get(address).status_code == 200, address


def _manage_lines():
    for page in PAGES:
        text = page.read_text()
        lines = re.findall(r"^ *(?:[\w. /-]*python )?manage\.py (.*)$", text, re.M)
        lines += re.findall(r"`(?:python )?manage\.py ([^`\n]+)`", text)
        for line in lines:
            if not re.search(r"…|NOUN|\w\|\w", line):
                yield pytest.param(re.split(r" [|>] ", line)[0], id=f"{page.name}-{line}")


@pytest.mark.parametrize("line", list(_manage_lines()))
def test_command_of_an_example_can_be_typed(line: str):
    text = re.sub(r"\b(PROCESSES|THREADS)\b", "2", re.sub(r"\bID\b|\{id\}", str(new_id()), line))
    name, *words = shlex.split(text, comments=True)
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    try:
        parser.parse_args(words)
    except SystemExit as end:
        # `--version` and `--help` print and end.
        if end.code:
            raise


def test_the_readme_names_the_interpreter_of_each_command():
    """A bare `manage.py` is not found on a fresh machine."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert not [line for block in blocks for line in block.splitlines() if line.startswith("manage.py")]


@pytest.mark.parametrize("text", [*_blocks("python"), *_blocks("sh")])
def test_an_example_has_one_unit_of_time(text: str):
    """Dramatiq's options are milliseconds and everything else is seconds: in one example they are mistaken."""
    milliseconds = re.search(r"\b(time_limit|max_age|min_backoff|max_backoff|delay)=\d|\d_000\b", text)
    seconds = re.search(r"(?<!milli)seconds\b|--(delay|duration|time-limit)\b|\"duration\"", text)
    assert not (milliseconds and seconds)


def test_each_arrow_of_the_state_machine_is_a_verb_of_lifecycle():
    arrows = re.findall(r"^    (\S+) --> (\S+): (\w+)", (ROOT / "docs" / "state_machine.md").read_text(), re.M)
    assert {end for *ends, _ in arrows for end in ends} == {*map(str, Status), "[*]"}
    for *_, verb in arrows:
        assert (ROOT / "tasks" / "lifecycle" / f"{verb}.py").exists(), f"no file of lifecycle is named {verb}"


def test_make_has_what_the_docs_name():
    text = "".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", text, re.M))
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    assert {first or second for first, second in named} <= targets
    assert targets >= {"help", "run", "test", "verify", "bench", "lint", "types"}
