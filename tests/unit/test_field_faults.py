"""What code gives for a field is of its type and within its bounds, or it is refused by the field's name."""

from datetime import UTC, datetime
from math import inf, nan
from typing import Any
from uuid import UUID, uuid4

import pytest

from tasks.errors import InvalidTask
from tasks.lifecycle.submit import checked
from tasks.schedule_definition import DEFINITION, faults
from tasks.submission import FIELDS, BatchId, Dependencies, JsonObject, Submission, Tags

#: Nothing that takes values has a use for one of these.
USELESS: list[Any] = [
    *(True, nan, -inf, 10**5_000, 2**63, -0.5, b"x", 1j, object(), uuid4(), "nul \0", "\ud800", "x" * 300, ""),
    *([object()], [None], ["\0"], ["\ud800"], ["x" * 300], (b"x",), {1: 2}, {"nope": 1}, datetime(1, 1, 1, tzinfo=UTC)),
]
#: These are refused where they are looked at more closely: a payload by its actor, dependencies when they are planned.
LATER = (JsonObject, Dependencies)


def refused(**fields: Any) -> set[str]:
    """Give the fields that a submission is refused for."""
    with pytest.raises(InvalidTask) as caught:
        checked(Submission(**{"actor": "act", "payload": {"do": "return"}, **fields}))
    # The message is for a log or a terminal.
    assert len(str(caught.value)) < 600
    str(caught.value).encode()
    return {error.field.partition(".")[0] for error in caught.value.errors}


@pytest.mark.parametrize("name", [name for name, one in FIELDS.items() if not isinstance(one.kind, LATER)])
def test_a_field_takes_no_value_of_another_type(name: str) -> None:
    for value in USELESS:
        if not (isinstance(FIELDS[name].kind, BatchId) and isinstance(value, UUID)):
            assert refused(**{name: value}) == {name}, value


NO_LIST: list[Any] = ["x", b"x", {}, 5, True]
NO_OBJECT: list[Any] = ["x", [1], 5, True]


@pytest.mark.parametrize(("name", "value"), [
    *((name, value) for name in ("depends_on", "args") for value in NO_LIST),
    *((name, value) for name in ("options", "payload") for value in NO_OBJECT),
    *((name, "x") for name, one in FIELDS.items() if isinstance(one.kind, Tags)),
    ("max_retries", 5.0), ("max_retries", -2), ("priority", 5.0), ("run_at", "2030-01-01T00:00:00Z"),
])  # fmt: skip
def test_a_field_does_not_guess_what_was_meant(name: str, value: Any) -> None:
    assert refused(**{name: value}) == {name}


@pytest.mark.parametrize("name", ["name", *DEFINITION])
def test_a_schedule_takes_no_value_of_another_type(name: str) -> None:
    for value in USELESS:
        if not (isinstance(value, dict) and name == "payload") and (name, value) != ("cron", ""):
            found = [*faults({name: value})]
            assert found, value
            assert {error.field for error in found} == {name}


@pytest.mark.parametrize("option", [{"depends_on": []}, {"unique": "k"}, {"row": {}}, {"owner_id": 5}, {5: 5},
                                    {"tags": "abc"}, {"priority": True}, {"estimated_seconds": nan}])  # fmt: skip
def test_a_schedule_keeps_only_fields_that_its_tasks_can_have(option: dict[Any, Any]) -> None:
    assert [*faults({"options": option})]


def test_what_no_schedule_has_is_refused_by_its_name() -> None:
    (found,) = faults({"next_fire_at": None})
    assert (found.field, found.code) == ("next_fire_at", "unknown_field")
