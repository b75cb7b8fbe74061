"""``callboard actors list``."""

import pytest

from tasks.management.callboard.actors import _signature
from tests.commands.cli import callboard, callboard_json, on_terminal, without_styles

pytestmark = pytest.mark.django_db


def test_each_actor_is_listed_with_queue_priority_and_parameters() -> None:
    header, *lines = callboard("actors", "list").splitlines()
    assert header.split("\t") == ["NAME", "QUEUE", "PRIORITY", "PARAMETERS", "DESCRIPTION"]
    rows = {name: rest for name, *rest in (line.split("\t") for line in lines)}
    assert rows["elsewhere"][:3] == ["other", "8", "x: integer = 0"]
    assert rows["add"][2] == "a: integer, b: integer = 0"
    # Any keyword argument.
    assert rows["note"][2] == "…"


def test_actors_that_are_closed_to_the_api_are_listed_too() -> None:
    assert "private" in {actor["name"] for actor in callboard_json("actors", "list")["results"]}


def test_json_has_the_keys_of_the_api(admin_client) -> None:
    ours = {actor["name"]: actor for actor in callboard_json("actors", "list")["results"]}
    theirs = {actor["name"]: actor for actor in admin_client.get("/api/v1/actors").json()["results"]}
    assert theirs
    assert {name: ours[name] for name in theirs} == theirs


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    text = without_styles(on_terminal("actors", "list", "--no-color", monkeypatch=monkeypatch, columns=80))
    (line,) = [line for line in text.splitlines() if line.startswith("elsewhere")]
    assert line.split() == ["elsewhere", "other", "8", "x:", "integer", "=", "0"]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, ""),
        ({"properties": {"x": {"type": "integer", "default": 1}, "y": {}}}, "x: integer = 1, y"),
        ({"properties": {"x": {}}}, "x"),
        ({"properties": {"x": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, "x: string | null"),
        ({"properties": {"x": {"default": None}}}, "x = null"),
        ({"properties": {"x": {"$ref": "#/$defs/Order"}}}, "x: Order"),
        ({"properties": {"x": {"type": ["string", "null"]}}}, "x"),
        ({"properties": {"x": {"enum": ["a"]}}, "additionalProperties": True}, "x, …"),
    ],
)  # fmt: skip
def test_a_schema_is_written_as_a_signature(schema, text: str) -> None:
    assert _signature(schema) == text
