"""The fields of a task are declared once: every door takes and describes what ``tasks.submission`` declares."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from django.db import models
from django.utils import timezone
from jsonschema import Draft202012Validator

from tasks import lifecycle, registry
from tasks.api import bodies, task_schemas
from tasks.contract.fields import InvalidValue
from tasks.contract.submissions import READERS
from tasks.contract.values import timestamp
from tasks.models import Task
from tasks.registry import ActorSpec
from tasks.submission import (
    EDITABLE,
    FIELDS,
    Moment,
    Priority,
    Seconds,
    Submission,
    Tags,
    Text,
    UniqueRule,
    WholeNumber,
)
from tests.callers import assert_problem
from tests.commands.cli import callboard_json, help_of

pytestmark = pytest.mark.django_db

NOW = timezone.now()
#: A value of each field that is no default, in the form of a JSON body.
VALUES: dict[str, Any] = {
    "actor": "note",
    "payload": {"a": 1},
    "priority": 8,
    "queue": "other",
    "run_at": (NOW + timedelta(hours=1)).isoformat(),
    "delay_seconds": 60,
    "max_retries": 7,
    "min_backoff_seconds": 3,
    "max_backoff_seconds": 90.5,
    "retry_for_seconds": 600,
    "time_limit_seconds": 12,
    "max_age_seconds": 3600,
    "estimated_seconds": 0.5,
    "tags": ["x", "y"],
    "fairness_key": "customer-17",
    # Ids of tasks that exist: tests/api/test_workflows.py.
    "depends_on": [],
    "ref": "first",
    "unique": {"key": "x", "until": "started", "ttl_seconds": 60, "on_conflict": "replace", "max_wait_seconds": 90},
    # The id of a batch that exists: tests/api/test_batches.py.
    "batch": "01985c4e-7d6a-7cc2-b1a5-0e2f5c1d9a10",
}
COLUMNS = [name for name, one in FIELDS.items() if one.is_column]
#: Options of the command line; a unique key has several, see ``tests/commands/test_submit_command.py``.
OPTIONS = [name for name in FIELDS if name not in ("actor", "payload", "ref", "unique", "batch")]
#: Types of the batch's record against those of the table.
TYPES: dict[str, Any] = {
    "text": models.CharField,
    "jsonb": models.JSONField,
    "smallint": models.PositiveSmallIntegerField,
    "integer": models.PositiveIntegerField,
    "double precision": models.FloatField,
    "timestamptz": models.DateTimeField,
    "text[]": models.Field,
}


def test_every_field_has_a_value_in_these_tests() -> None:
    assert list(VALUES) == list(FIELDS)


def _column(name: str) -> Any:
    return Task._meta.get_field(name)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_field_is_a_column_of_its_type_and_length(name: str) -> None:
    one, column = FIELDS[name], _column(name)
    assert isinstance(column, TYPES[one.kind.sql])
    assert column.null == bool(one.if_null)
    if isinstance(one.kind, Text):
        assert column.max_length == one.kind.longest
    if isinstance(one.kind, Tags):
        assert column.base_field.max_length == one.kind.longest


@pytest.mark.parametrize("name", [name for name, one in FIELDS.items() if one.actor_option])
def test_an_option_of_the_actor_is_one(name: str) -> None:
    assert FIELDS[name].actor_option in {one.name for one in dataclasses.fields(ActorSpec)}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_described_with_its_help_wherever_it_can_be_given(name: str) -> None:
    given, edit = bodies.BODIES["Submission"]["properties"], bodies.BODIES["Edit"]["properties"]
    assert given[name]["description"].startswith(FIELDS[name].help)
    assert (name in edit) == (name in EDITABLE)
    task = task_schemas.SCHEMAS["Task"]["properties"]
    assert (name in task) == (FIELDS[name].is_column or name in ("depends_on", "ref", "unique", "batch"))
    if FIELDS[name].is_column:
        assert task[name]["description"].startswith(FIELDS[name].help)


def _edges(kind: Any) -> tuple[list[Any], list[Any]]:
    """List values at the bounds of a kind, and values just beyond them."""
    match kind:
        case Text(longest):
            return ["x" * longest], ["", "x" * (longest + 1)]
        case Priority(lowest, highest):
            return [lowest, highest], [lowest - 1, highest + 1]
        case Seconds(takes_zero, highest):
            return [0 if takes_zero else 0.001, highest], [-1 if takes_zero else 0, highest * 1.01]
        case WholeNumber(highest):
            return [0, highest], [-1, highest + 1]
        case Tags(most, longest):
            return [["x"] * most, ["x" * longest]], [["x"] * (most + 1), ["x" * (longest + 1)]]
        case UniqueRule():
            rules: list[dict[str, Any]] = [{"key": "x" * 255}, {"key": "x", "ttl_seconds": 0.001}, VALUES["unique"]]
            return rules, [{}, {"key": ""}, {"key": "x" * 256}, {"key": "x", "until": "later"}, {"key": "x", "a": 1}]
    return [], []


def _is_described(name: str, value: Any) -> bool:
    return Draft202012Validator(bodies.SUBMISSION[name]).is_valid(value)


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_read_and_what_is_described_have_the_same_bounds(name: str) -> None:
    good, bad = _edges(FIELDS[name].kind)
    for value in good:
        READERS[name](value)
        assert _is_described(name, value)
    for value in bad:
        with pytest.raises(InvalidValue):
            READERS[name](value)
        assert not _is_described(name, value)


@pytest.mark.parametrize("name", COLUMNS)
def test_rest_takes_and_gives_a_field(alice: Any, name: str) -> None:
    body = {"actor": "note", name: VALUES[name]}
    task = alice.submit(**body).json()
    wanted = timestamp(NOW + timedelta(hours=1)) if name == "run_at" else VALUES[name]
    assert task[name] == wanted
    assert alice.get(task["url"]).json()[name] == wanted


def test_rest_takes_a_delay(alice: Any) -> None:
    task = alice.submit("note", delay_seconds=60).json()
    assert task["run_at"] > task["created_at"]


@pytest.mark.parametrize("name", EDITABLE)
def test_rest_edits_a_field_that_is_declared_editable(alice: Any, name: str) -> None:
    url = alice.submit("note").json()["url"]
    edited = alice.patch(url, {name: VALUES[name]}, content_type="application/json").json()
    assert edited[name] == (timestamp(NOW + timedelta(hours=1)) if name == "run_at" else VALUES[name])


@pytest.mark.parametrize("name", sorted({*FIELDS} - {*EDITABLE}))
def test_rest_edits_no_other_field(alice: Any, name: str) -> None:
    url = alice.submit("note").json()["url"]
    assert_problem(alice.patch(url, {name: VALUES[name]}, content_type="application/json"), 400, field=name)


def _option(name: str) -> str:
    return f"--{name.removesuffix('_seconds').removesuffix('s' if name == 'tags' else '').replace('_', '-')}"


@pytest.mark.parametrize("name", OPTIONS)
def test_the_command_line_takes_and_explains_a_field(name: str) -> None:
    value = VALUES[name]
    words = [word for one in (value if isinstance(value, list) else [value]) for word in (_option(name), str(one))]
    task = callboard_json("submit", "note", *words)
    if FIELDS[name].is_column and not isinstance(FIELDS[name].kind, Moment):
        assert task[name] == value
    text = help_of("submit")
    assert _option(name) in text
    assert FIELDS[name].help in text


def test_code_gives_every_field_and_the_row_has_it() -> None:
    given = {name: READERS[name](value) for name, value in VALUES.items() if name not in ("delay_seconds", "batch")}
    task = Task.objects.get(pk=lifecycle.submit(Submission(**given)).pk)
    assert {name: getattr(task, name) for name in COLUMNS} == {name: given[name] for name in COLUMNS}


def test_what_is_left_out_is_the_actors_option() -> None:
    task = lifecycle.submit(Submission(actor="note"))
    spec = registry.get("note")
    found = {name: getattr(task, name) for name, one in FIELDS.items() if one.actor_option}
    assert found == {name: getattr(spec, FIELDS[name].actor_option) for name in found}


def test_every_declared_field_says_what_it_means() -> None:
    assert all(one.help.endswith(".") and len(one.help) > 15 for one in FIELDS.values())
