"""Numbers: what is accepted comes back equal and of the same type through every door, or it is refused by name."""

import json
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import lifecycle
from tasks.db.json_text import with_plain_floats
from tasks.errors import InvalidTask
from tasks.models import Task
from tasks.payload import check_json
from tasks.states import Status
from tests import factories
from tests.actors import noted
from tests.callers import TASKS, assert_problem
from tests.factories import submit

KEPT = [
    *(0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63)),
    *(0.0, 1.0, -1.5, 0.1, 5e-324, 1e-320, 2.2250738585072014e-308, 1e15, 9007199254740993.0),
    *(1e16, -1e16, 1.2345678901234567e16, 2.0**63, -(2.0**63), 1e19, 1e22, 1e23, 123456789012345680000.0),
    *(2.0**100, 1e300, 1.7976931348623157e308, -1.7976931348623157e308),
]
REFUSED = [2**63, -(2**63) - 1, 2**100, 10**400, inf, -inf, nan]


def typed(value: Any) -> Any:
    """Make numbers of different types unequal: 1 == 1.0 in Python."""
    return json.dumps(value, sort_keys=True)


def nested(value: Any) -> dict[str, Any]:
    return {"a": [value, {"b": value}], "1e+22 e+": 'e+ 1e+22 \\" 1e+16'}


@pytest.mark.django_db
@pytest.mark.parametrize("value", KEPT, ids=repr)
def test_a_number_comes_back_as_it_was_given(value: Any) -> None:
    task = submit("note", payload=nested(value), args=[value], options={"x": nested(value)})
    edited = submit("note", payload={}, priority=1)
    lifecycle.edit(edited.pk, {"payload": nested(value)})
    claimed = factories.start(task, worker := factories.make_worker())
    assert typed([claimed.payload, list(claimed.args), claimed.options["x"]]) == typed(
        [nested(value), [value], nested(value)]
    )
    lifecycle.complete_many([factories.outcome(claimed, worker, result=nested(value))])
    assert typed(Task.objects.get(pk=task.pk).result) == typed(nested(value))
    assert typed(Task.objects.get(pk=edited.pk).payload) == typed(nested(value))


@pytest.mark.django_db
def test_minus_zero_comes_back_as_zero() -> None:
    """A decimal has no sign of zero; the two are equal."""
    task = submit("note", payload={"a": -0.0})
    assert typed(Task.objects.get(pk=task.pk).payload["a"]) == "0.0"


@pytest.mark.django_db
@pytest.mark.parametrize("value", REFUSED, ids=lambda value: str(value)[:30])
def test_a_number_that_does_not_is_refused_by_name(value: Any) -> None:
    for fields, path in (
        ({"payload": {"a": [{"b": value}]}}, "payload.a.0.b"),
        ({"args": [[value]]}, "args.0.0"),
        ({"options": {"x": value}}, "options.x"),
    ):
        with pytest.raises(InvalidTask) as caught:
            submit("note", **fields)
        assert [(error.field, error.code) for error in caught.value.errors] == [(path, "out_of_range")]


@pytest.mark.parametrize("text", ["1e400", "-1e400", "9223372036854775808", "1" + "0" * 400])
def test_rest_refuses_numbers_that_nothing_holds(alice: Any, text: str) -> None:
    body = f'{{"actor": "note", "payload": {{"a": [{text}]}}}}'
    response = alice.post(TASKS, body, content_type="application/json")
    assert_problem(response, 400, field="payload.a.0")


@pytest.mark.parametrize("value", KEPT, ids=repr)
def test_rest_gives_what_it_took_and_takes_what_it_gave(alice: Any, value: Any) -> None:
    task = alice.submit("note", payload={"a": value}, run_at="2099-01-01T00:00:00Z").json()
    read = alice.get(task["url"]).json()
    assert typed([task["payload"], read["payload"]]) == typed([{"a": value}] * 2)
    edited = alice.patch(task["url"], {"payload": read["payload"]}, content_type="application/json")
    assert typed(edited.json()["payload"]) == typed({"a": value})


def test_tasks_with_large_floats_run_and_so_do_their_callbacks(engine: Any) -> None:
    """They came back as whole numbers beyond 64 bits, which the callback's own check refused."""
    value = nested(1e22)
    (task,) = engine.wait_for(submit("with_callbacks", payload={"do": "return", "value": value}))
    assert (task.status, typed(task.result)) == (Status.SUCCEEDED, typed(value))
    engine.wait_for(Task.objects.get(actor="note"))
    ((message, result), _) = noted[0]
    assert typed([message["kwargs"]["value"], result]) == typed([value, value])


def test_a_bulk_of_short_numbers_with_many_digits_is_refused(alice: Any, settings: Any) -> None:
    settings.MAX_BODY_BYTES = 100_000
    task = {"actor": "note", "payload": {"a": [1e308] * 100}}
    assert_problem(alice.send(f"{TASKS}/bulk", {"tasks": [task] * 4}), 413, code="too_large")
    assert alice.send(f"{TASKS}/bulk", {"tasks": [task] * 3}).status_code == 201


def test_a_float_is_as_long_as_it_is_stored() -> None:
    value = [1e308] * 100
    (fault,) = check_json(value, field="f", max_bytes=10_000, max_depth=8)
    assert fault.code == "too_large"


@given(st.recursive(st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.integers(), st.lists))
def test_writing_floats_out_changes_no_value(value: Any) -> None:
    text = with_plain_floats(json.dumps(value, ensure_ascii=False))
    assert typed(json.loads(text)) == typed(value)
