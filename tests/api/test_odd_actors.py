"""One actor's odd defaults and options break neither the list of actors nor the actor's submissions."""

import enum
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import Annotated, Any

import dramatiq
import pytest
from pydantic import BaseModel, ConfigDict, Field

from tasks.retry import MOST_SECONDS
from tasks.worker.middleware import InvalidOption
from tests.callers import assert_problem

ACTORS = "/api/v1/actors"


class Colour(enum.Enum):
    RED = "red"


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)

#: name: (default, how the schema says it); ... if it does not.
DEFAULTS: dict[str, tuple[Any, Any]] = {
    "infinity": (inf, ...),
    "minus infinity": (-inf, ...),
    "not a number": (nan, ...),
    "infinity in a list": ([1, inf], ...),
    "infinity in a set": ({inf}, ...),
    "an object": (object(), ...),
    "an object without a text": (Broken(), ...),
    "a function": (len, ...),
    "a lock in an object": ({"lock": threading.Lock()}, ...),
    "a circle": (CIRCLE, ...),
    "bytes": (b"\xff", ...),
    "a lone surrogate": ("\ud800", ...),
    "a NUL": ("\0", ...),
    "a number of 5,000 digits": (10**5000, ...),
    "an empty set": (set(), []),
    "a date": (datetime(2030, 1, 2, tzinfo=UTC), "2030-01-02T00:00:00Z"),
    "a duration": (timedelta(seconds=5), "PT5S"),
    "an enum": (Colour.RED, "red"),
    "null": (None, None),
    "a large float": (1e22, 1e22),
}


class Bounded(BaseModel):
    """A payload whose bounds and defaults JSON cannot say."""

    number: Annotated[float, Field(ge=-inf, le=inf, examples=[nan])] = inf
    text: str = Field("\ud800", description="\udfff")


class Indescribable(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    lock: threading.Thread | None = None


@pytest.fixture
def declare() -> Iterator[Callable[..., Any]]:
    """Declare an actor for the time of a test."""
    broker, names = dramatiq.get_broker(), []

    def as_actor(function: Callable[..., Any], **options: Any) -> Any:
        names.append("odd")
        return dramatiq.actor(actor_name="odd", **options)(function)

    yield as_actor
    for name in names:
        broker.actors.pop(name, None)


def described(caller: Any) -> Any:
    response = caller.get(ACTORS)
    assert response.status_code == 200, response.content
    actors = {actor["name"]: actor for actor in response.json()["results"]}
    assert "act" in actors
    return actors["odd"]


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_that_is_no_json_is_left_out(alice: Any, declare: Any, name: str) -> None:
    default, said = DEFAULTS[name]

    def odd(value=default): ...

    declare(odd)
    schema = described(alice)["payload_schema"]
    assert schema["properties"]["value"].get("default", ...) == said
    assert "required" not in schema
    assert alice.submit("odd").status_code == 201
    assert alice.submit("odd", payload={"value": 1}).status_code == 201
    assert_problem(alice.submit("odd", payload={"values": 1}), 400, field="payload.values")


def test_a_models_bounds_and_defaults_that_are_no_json_are_left_out(alice: Any, declare: Any) -> None:
    def odd(whole: Bounded) -> None:
        """Take a \ud800."""

    declare(odd)
    actor = described(alice)
    assert actor["payload_schema"]["properties"] == {
        "number": {"title": "Number", "type": "number", "examples": []},
        "text": {"title": "Text", "type": "string"},
    }
    assert actor["description"] == "Take a ?."


def test_a_model_that_cannot_be_described_is_an_object(alice: Any, declare: Any) -> None:
    def odd(whole: Indescribable) -> None: ...

    declare(odd)
    assert described(alice)["payload_schema"] == {"type": "object"}


def test_infinite_limits_are_none_and_infinite_delays_the_longest(alice: Any, declare: Any) -> None:
    declare(lambda: None, time_limit=inf, max_age=inf, retry_for=inf, min_backoff=inf, max_backoff=inf)
    defaults = described(alice)["defaults"]
    assert (defaults["time_limit_seconds"], defaults["max_age_seconds"], defaults["retry_for_seconds"]) == (
        0,
        None,
        None,
    )
    assert defaults["min_backoff_seconds"] == defaults["max_backoff_seconds"] == MOST_SECONDS
    assert alice.submit("odd").status_code == 201


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("time_limit", nan), ("time_limit", "5"), ("max_backoff", -1), ("max_age", timedelta(seconds=-1))),
        *(("max_retries", inf), ("max_retries", -1), ("max_retries", "3"), ("max_retries", 2**31)),
        *(("default_priority", 11), ("default_priority", inf), ("default_priority", "high")),
    ],
)
def test_an_option_that_no_task_can_have_is_refused_at_the_declaration(declare: Any, option: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=rf"actor 'odd': expected {option} as .*, got"):
        declare(lambda: None, **{option: value})
    assert "odd" not in dramatiq.get_broker().actors
