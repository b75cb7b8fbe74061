"""What an actor's function gets is what its annotations say, whoever stands between it and the call."""

import dataclasses
import enum
import functools
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional

import pydantic
import pytest
from dramatiq import GenericActor

from tasks.arguments import Arguments
from tests.actors import Order

if TYPE_CHECKING:
    from decimal import Context as Unresolved

ORDER = {"number": 1, "placed_on": "2030-01-02"}
AN_ORDER = Order(number=1, placed_on=date(2030, 1, 2))


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: int
    at: date | None = None


class Pair(NamedTuple):
    a: int
    b: Decimal


def taking(annotation: Any, **options: Any) -> Arguments:
    def work(x: Any) -> None: ...

    work.__annotations__["x"] = annotation
    return Arguments.of(work, **options)


@pytest.mark.parametrize(
    ("annotation", "given", "got"),
    [
        (datetime, "2030-01-02T03:04:05Z", datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (date, "2030-01-02", date(2030, 1, 2)),
        (time, "03:04:05", time(3, 4, 5)),
        (timedelta, "PT5S", timedelta(seconds=5)),
        (uuid.UUID, "0198d3c2-7a31-7c4e-9d55-1f2a3b4c5d6e", uuid.UUID("0198d3c2-7a31-7c4e-9d55-1f2a3b4c5d6e")),
        (Decimal, "1.50", Decimal("1.50")),
        (Colour, "red", Colour.RED),
        (Level, 1, Level.LOW),
        (Literal["a"], "a", "a"),
        (float, 5, 5.0),
        (bytes, "x", b"x"),
        (set[int], [1, 2], {1, 2}),
        (frozenset, [1], frozenset({1})),
        (tuple, [1, 2], (1, 2)),
        (tuple[int, date], [1, "2030-01-02"], (1, date(2030, 1, 2))),
        (Pair, [1, "2.5"], Pair(1, Decimal("2.5"))),
        (Point, {"x": 1, "at": "2030-01-02"}, Point(1, date(2030, 1, 2))),
        (list[Point], [{"x": 1}], [Point(1)]),
        (dict[str, date], {"a": "2030-01-02"}, {"a": date(2030, 1, 2)}),
        (Optional[date], None, None),  # noqa: UP045
        (date | None, "2030-01-02", date(2030, 1, 2)),
        (Order | None, ORDER, AN_ORDER),
        (list[Order], [ORDER], [AN_ORDER]),
        (dict[str, list[Order]], {"a": [ORDER]}, {"a": [AN_ORDER]}),
        (Annotated[date, "a note"], "2030-01-02", date(2030, 1, 2)),
    ],
)
def test_a_function_gets_what_its_annotation_says(annotation: Any, given: Any, got: Any) -> None:
    arguments = taking(annotation)
    assert arguments.check([], {"x": given}) == arguments.check([given], {}) == []
    (_, by_name), (by_position, _) = arguments.convert([], {"x": given}), arguments.convert([given], {})
    assert by_name == {"x": got}
    assert type(by_name["x"]) is type(got)
    assert by_position == (got,)


@pytest.mark.parametrize("annotation", [int, str, bool, Any, list[int], dict[str, Any], int | None, Literal["a", 1]])
def test_plain_json_costs_no_conversion(annotation: Any) -> None:
    assert not taking(annotation).converts


def test_several_models_and_plain_arguments_stand_side_by_side() -> None:
    def work(first: Order, n: int, second: Order | None = None, *, when: date = date.min) -> None: ...

    arguments = Arguments.of(work)
    payload = {"first": ORDER, "n": 1, "second": ORDER, "when": "2030-01-02"}
    assert arguments.check([], payload) == []
    assert arguments.convert([], payload)[1] == {
        "first": AN_ORDER, "n": 1, "second": AN_ORDER, "when": date(2030, 1, 2),
    }  # fmt: skip
    assert [one.field for one in arguments.check([], {"first": {}, "n": "1"})] == [
        "payload.first.number", "payload.first.placed_on", "payload.n",
    ]  # fmt: skip
    # A default is the function's own.
    assert arguments.convert([ORDER, 1], {}) == ((AN_ORDER, 1), {})


def test_arguments_of_any_number_are_checked_and_converted() -> None:
    def work(first: int, *days: date, **counts: Decimal) -> None: ...

    arguments = Arguments.of(work)
    assert arguments.convert([1, "2030-01-02"], {"a": "1.5"}) == ((1, date(2030, 1, 2)), {"a": Decimal("1.5")})
    assert arguments.convert([], {"first": 1, "a": "1.5"})[1] == {"first": 1, "a": Decimal("1.5")}
    assert [one.field for one in arguments.check([1, "soon"], {"a": "x"})] == ["payload.a", "args.days.0"]
    assert arguments.schema["additionalProperties"] != True  # noqa: E712 - it is the schema of a Decimal


def test_one_model_is_the_payload_or_goes_by_the_parameters_name() -> None:
    def work(order: Order) -> None: ...

    def positional(order: Order, /) -> None: ...

    def optional(order: Order = AN_ORDER) -> None: ...

    def many(*orders: Order) -> None: ...

    for args, payload in (((), ORDER), ((ORDER,), {}), ((), {"order": ORDER})):
        assert Arguments.of(work).check(args, payload) == []
        assert Arguments.of(work).convert(args, payload) == ((), {"order": AN_ORDER})
    assert Arguments.of(positional).convert([ORDER], {}) == ((AN_ORDER,), {})
    assert Arguments.of(optional).check([], {}) == []
    assert Arguments.of(optional).convert([], {}) == ((), {})
    assert Arguments.of(many).convert([ORDER, ORDER], {}) == ((AN_ORDER, AN_ORDER), {})


def test_none_as_the_default_makes_a_parameter_optional() -> None:
    def work(x: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert Arguments.of(work).check([], {"x": None}) == []
    assert Arguments.of(work).check([], {"x": "1"}) != []


@pytest.mark.parametrize(
    ("annotation", "given", "got"), [(int, "5", 5), (int, 5.0, 5), (float, "1.5", 1.5), (bool, 1, True)]
)
def test_a_lenient_actor_gets_what_it_promises_of_text_too(annotation: Any, given: Any, got: Any) -> None:
    strict, lenient = taking(annotation), taking(annotation, is_strict=False)
    assert strict.check([], {"x": given}) != []
    assert lenient.check([], {"x": given}) == []
    (value,) = lenient.convert([], {"x": given})[1].values()
    assert (value, type(value)) == (got, type(got))
    assert lenient.check([], {"x": "abc"}) != []


# --- Annotations that check nothing ---


def test_a_name_that_does_not_resolve_turns_nothing_else_off() -> None:
    def work(a: "Unresolved", b: int, c: "date", d: Callable[[], None] | None = None) -> None: ...

    arguments = Arguments.of(work)
    assert [one.field for one in arguments.check([], {"a": 1, "b": "1", "c": "soon"})] == ["payload.b", "payload.c"]
    assert arguments.convert([], {"a": 1, "b": 1, "c": "2030-01-02"})[1]["c"] == date(2030, 1, 2)
    assert set(arguments.unchecked) == {"a", "d"}
    assert "Unresolved" in arguments.unchecked["a"]


# --- Decorators ---


def passes(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def injects(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("tenant", None)
        return fn("a session", *args, **kwargs)

    return wrapper


def renames(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(order_id: int) -> Any:
        return fn(order_id)

    return wrapper


def test_arguments_that_a_decorator_injects_are_not_asked_for() -> None:
    @injects
    def work(session: Any, n: int, day: date | None = None) -> None: ...

    arguments = Arguments.of(work)
    for args, payload in (((1,), {}), ((), {"n": 1, "tenant": "acme"}), ((1,), {"day": "2030-01-02"})):
        assert arguments.check(args, payload) == []
    assert arguments.convert([1], {"day": "2030-01-02"}) == ((1,), {"day": date(2030, 1, 2)})
    assert [one.field for one in arguments.check([], {"n": "1"})] == ["payload.n"]
    assert "required" not in arguments.schema
    assert arguments.schema["additionalProperties"] is True


def test_what_a_decorator_passes_on_is_converted() -> None:
    @passes
    def work(day: date, *rest: date) -> None: ...

    arguments = Arguments.of(work)
    assert arguments.convert(["2030-01-02", "2030-01-02"], {}) == ((date(2030, 1, 2), date(2030, 1, 2)), {})
    assert arguments.convert([], {"day": "2030-01-02"}) == ((), {"day": date(2030, 1, 2)})


def test_a_decorator_with_parameters_of_its_own_says_what_the_call_takes() -> None:
    @renames
    def work(order: Order) -> None: ...

    assert Arguments.of(work).check([], {"order_id": 1}) == []
    assert Arguments.of(work).check([], {"number": 1}) != []


def test_a_class_based_actor_is_checked_by_what_it_performs() -> None:
    class Base(GenericActor):
        class Meta:
            abstract = True

    class Work(Base):
        class Meta:
            abstract = True

        def perform(self, n: int, day: date) -> None: ...

    # As the metaclass does, without a broker.
    arguments = Arguments.of(object.__new__(Work))
    assert [one.field for one in arguments.check([], {"n": "1"})] == ["payload.n", "payload.day"]
    assert arguments.convert([1, "2030-01-02"], {})[0] == (1, date(2030, 1, 2))


def test_a_schema_says_what_the_annotations_say() -> None:
    def work(day: date, colour: Colour, point: Point, orders: list[Order]) -> None: ...

    properties = Arguments.of(work).schema["properties"]
    assert properties["day"]["format"] == "date"
    assert properties["colour"] == {"$ref": "#/$defs/Colour"}
    assert properties["orders"]["items"] == {"$ref": "#/$defs/Order"}


def test_pydantics_own_errors_name_the_field() -> None:
    (error,) = taking(pydantic.PositiveInt).check([], {"x": 0})
    assert error.field == "payload.x"
