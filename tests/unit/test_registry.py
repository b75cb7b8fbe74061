"""Actors: their payloads, and their options in seconds."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, Literal

import dramatiq
import pytest

from tasks import registry
from tasks.arguments import Arguments
from tasks.errors import InvalidTask, UnknownActor
from tasks.payload import check_json
from tasks.worker.middleware import InvalidOption
from tests.actors import Order


def faults(function: Callable[..., Any], payload: dict[str, Any], *args: Any) -> list[tuple[str, str]]:
    return [(error.field, error.code) for error in Arguments.of(function).check(args, payload)]


def plain(a: int, b: str = "x") -> None: ...


def anything(a, b=None): ...


def variadic(a: int, *rest: Any, **more: Any) -> None: ...


def positional(a: int, /) -> None: ...


def keyword(*, a: int) -> None: ...


def odd_names(schema: int, model_config: int = 0, _x: int = 0) -> None: ...


def literal(mode: Literal["a", "b"], day: date | None = None) -> None: ...


def uncheckable(a: "NoSuchName", b: Callable[[], None] | None = None) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def whole(order: Order) -> None: ...


ORDER = {"number": 1, "placed_on": "2030-01-02"}


@pytest.mark.parametrize(
    ("function", "payload", "expected"),
    [
        (plain, {"a": 1}, []),
        (plain, {"a": 1, "b": "y"}, []),
        (plain, {}, [("payload.a", "required")]),
        (plain, {"a": "1"}, [("payload.a", "invalid")]),
        (plain, {"a": 1.5}, [("payload.a", "invalid")]),
        (plain, {"a": True}, [("payload.a", "invalid")]),
        (plain, {"a": 1, "c": 2}, [("payload.c", "unknown_field")]),
        (plain, {"a": "x", "b": 1}, [("payload.a", "invalid"), ("payload.b", "invalid")]),
        (plain, {"p_a": 1}, [("payload.a", "required"), ("payload.p_a", "unknown_field")]),
        (anything, {"a": [{}]}, []),
        (variadic, {"a": 1, "z": 2}, []),
        (keyword, {"a": 1}, []),
        (odd_names, {"schema": 1, "model_config": 2, "_x": 3}, []),
        (odd_names, {"schema": "1"}, [("payload.schema", "invalid")]),
        (literal, {"mode": "a", "day": "2030-01-02"}, []),
        (literal, {"mode": "c"}, [("payload.mode", "invalid")]),
        (literal, {"mode": "a", "day": "soon"}, [("payload.day", "invalid")]),
        (uncheckable, {"a": "anything"}, []),
        (whole, ORDER, []),
        (whole, {**ORDER, "number": "1"}, [("payload.number", "invalid")]),
        (whole, {"order": ORDER}, []),
        (whole, {"parcel": ORDER}, [("payload.number", "required"), ("payload.placed_on", "required")]),
    ],
)
def test_a_payload_is_checked_against_the_signature(function, payload, expected) -> None:
    assert faults(function, payload) == expected


def test_positional_arguments_are_checked_too() -> None:
    assert faults(plain, {}, 1, "y") == []
    assert faults(plain, {}, "1") == [("payload.a", "invalid")]
    assert faults(plain, {"a": 1}, 1) == [("args", "invalid")]
    assert faults(plain, {}, 1, "y", "z") == [("args", "invalid")]
    assert faults(variadic, {"k": 1}, 1, 2, 3) == []
    assert faults(positional, {}, 1) == []


def test_a_payload_for_a_positional_only_argument_is_refused_and_not_accepted_to_fail_later() -> None:
    assert faults(positional, {"a": 1}) != []


def test_a_model_is_made_of_the_stored_payload() -> None:
    converted = Arguments.of(whole).convert([], {"number": 1, "placed_on": "2030-01-02"})[1]
    assert converted == {"order": Order(number=1, placed_on=date(2030, 1, 2))}
    assert Arguments.of(plain).convert([], {"a": 1}) == ((), {"a": 1})


def test_schemas_name_the_functions_own_parameters() -> None:
    schema = Arguments.of(plain).schema
    assert (sorted(schema["properties"]), schema["required"]) == (["a", "b"], ["a"])
    assert schema["additionalProperties"] is False


def test_every_declared_actor_has_a_schema() -> None:
    names = [spec.name for spec in registry.all_specs()]
    assert names == sorted(names)
    assert {"act", "ship", "echo"} <= set(names)
    assert "delete_old_tasks" not in names
    for spec in registry.all_specs():
        assert spec.arguments.schema["type"] == "object"


def test_options_are_milliseconds_in_the_decorator_and_seconds_here() -> None:
    spec = registry.get("limited")
    assert (spec.max_retries, spec.min_backoff_seconds, spec.max_backoff_seconds) == (1, 1, 4)
    assert (spec.time_limit_seconds, spec.max_age_seconds, spec.retry_for_seconds) == (2.5, 60, 9)
    assert registry.seconds(1500) == registry.seconds(timedelta(milliseconds=1500)) == 1.5


def test_an_actor_that_is_closed_to_the_api_looks_unknown_there() -> None:
    assert registry.get("private").is_open_to_api is False
    with pytest.raises(UnknownActor, match="no actor is declared as 'private'"):
        registry.get_open("private")


def test_queues_are_those_of_the_actors() -> None:
    assert {"default", "other"} <= set(registry.queue_names())


# --- JSON ---


@pytest.mark.parametrize("value", [None, True, 0, -(2**63), 2**63 - 1, 1.5, "ü", [], {}, {"a": [{"b": None}]}, (1, 2)])
def test_json_is_json(value) -> None:
    assert check_json(value, field="f", max_bytes=1000, max_depth=8) == []


@pytest.mark.parametrize(
    ("value", "field", "code"),
    [
        (2**63, "f", "out_of_range"),
        (float("inf"), "f", "out_of_range"),
        ([1, {"a": float("nan")}], "f.1.a", "out_of_range"),
        ("\0", "f", "bad_text"),
        ({"a": "\udfff"}, "f.a", "bad_text"),
        ({"\0": 1}, "f", "bad_text"),
        ({1: 1}, "f", "not_json"),
        ({"k" * 256: 1}, "f", "too_long"),
        (b"bytes", "f", "not_json"),
        ({1, 2}, "f", "not_json"),
        ("x" * 999, "f", "too_large"),
        ("ü" * 600, "f", "too_large"),
    ],
)
def test_a_value_that_cannot_be_stored_is_named(value, field: str, code: str) -> None:
    (fault,) = check_json(value, field=field.partition(".")[0], max_bytes=1000, max_depth=8)
    assert (fault.field, fault.code) == (field, code)


def test_depth_is_counted_without_recursion() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    (fault,) = check_json(value, field="f", max_bytes=10**9, max_depth=32)
    assert fault.code == "too_deep"
    while isinstance(value, list):  # unwound by hand: the interpreter's own clean-up would recurse
        value = value.pop()


def test_the_deepest_that_is_allowed_is_allowed() -> None:
    value: Any = 1
    for _ in range(32):
        value = {"a": value}
    assert check_json(value, field="f", max_bytes=10_000, max_depth=32) == []
    assert check_json([value], field="f", max_bytes=10_000, max_depth=32)[0].code == "too_deep"


def test_the_fields_of_an_invalid_task_are_listed() -> None:
    with pytest.raises(InvalidTask) as caught:
        registry.check_arguments(registry.get("add"), args=(), payload={"a": "x", "c": 1})
    assert [error.field for error in caught.value.errors] == ["payload.a", "payload.c"]


def test_arguments_get_the_names_of_their_parameters():
    by_name = registry.arguments_by_name
    assert by_name("login", args=["ada"], payload={"password": "x"}) == {"user": "ada", "password": "x"}
    assert by_name("note", args=[1, 2], payload={"a": 3}) == {"args_0": 1, "args_1": 2, "a": 3}
    assert list(by_name("add", args=[1, 2, 3], payload={})) == ["a", "b", "*2"]
    assert by_name("login", args=["ada"], payload={"user": "bob"}) == {"*0": "ada", "user": "bob"}
    assert by_name("gone", args=[1], payload={"a": 2}) == {"*0": 1, "a": 2}


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("order:{number}", "expected one of the parameters order_id, kind"),
        ("order:{order_id.x}", "without more"),
        ("order:{order_id[0]}", "without more"),
        ("order:{order_id!r}", "without more"),
        ("order:{order_id:>9}", "without more"),
        ("order:{}", "without more"),
        ("order:{0}", "without more"),
        ("order:{", "unique"),
        ({"key": "order:{order_id}", "until": "never"}, "expected started or finished"),
        ({"until": "started"}, "expected text, got nothing"),
        (5, "expected an object with a key"),
    ],
)
def test_a_template_of_unique_keys_is_checked_where_the_actor_is_declared(template: Any, wanted: str) -> None:
    def order(order_id: int, kind: str = "") -> None: ...

    with pytest.raises(InvalidOption, match=wanted):
        dramatiq.actor(actor_name="badly_declared", unique=template)(order)
