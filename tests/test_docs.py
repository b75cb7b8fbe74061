"""The examples of README and docs run as they stand."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from django.core.management import get_commands, load_command_class
from django.test import Client

from tasks.models import ApiToken, Task, new_id

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    assert Task.objects.get(pk=answer.json()["id"]).actor == json.loads(body)["actor"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def _manage_lines():
    for page in PAGES:
        text = page.read_text()
        lines = re.findall(r"^ *manage\.py (.*)$", text, re.M) + re.findall(r"`manage\.py ([^`\n]+)`", text)
        for line in lines:
            if not re.search(r"…|NOUN", line):
                yield pytest.param(line.partition(" | ")[0], id=f"{page.name}-{line}")


@pytest.mark.parametrize("line", list(_manage_lines()))
def test_command_of_an_example_can_be_typed(line: str):
    text = re.sub(r"\b(PROCESSES|THREADS)\b", "2", re.sub(r"\bID\b|\{id\}", str(new_id()), line))
    name, *words = shlex.split(text, comments=True)
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    # An error if it cannot be.
    parser.parse_args(words)


def test_make_has_what_the_docs_name():
    text = "".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", text, re.M))
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    assert {first or second for first, second in named} <= targets
    assert targets >= {"help", "run", "test", "verify", "bench", "lint", "types"}
