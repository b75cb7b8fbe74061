"""gRPC has what REST has: each operation with its permission, its parameters and the fields of its answer."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tasks.api.openapi import document
from tasks.api.openapi_operations import OPERATIONS, Operation, action_of
from tasks.rpc.calls import Method
from tasks.rpc.services import METHODS, PACKAGE
from tests.contract.parity import FIELDS_ONLY_OF_REST, METHOD_OF, ONLY_GRPC, ONLY_REST

PREFIX = f"/{PACKAGE}."
BY_NAME = {one.name: one for one in OPERATIONS}
PAIRS = [pytest.param(BY_NAME[name], METHODS[f"{PREFIX}{method}"], id=name) for name, method in METHOD_OF.items()]
#: Fields whose names differ, by the operation; or, of an answer, whose place does.
RENAMED: Mapping[str, Mapping[str, str]] = {
    "listEvents": {"cursor": "last_event_id"},
}
#: A stream has no pages.
OF_STREAM = {"listEvents": {"limit", "results", "next", "previous"}}


def test_every_operation_has_a_method_or_a_reason() -> None:
    assert set(BY_NAME) == set(METHOD_OF) | set(ONLY_REST)
    assert not set(METHOD_OF) & set(ONLY_REST)


def test_every_method_has_an_operation_or_a_reason() -> None:
    assert {path.removeprefix(PREFIX) for path in METHODS} == {*METHOD_OF.values(), *ONLY_GRPC}


@pytest.mark.parametrize(("operation", "method"), PAIRS)
def test_a_method_needs_the_same_permission(operation: Operation, method: Method) -> None:
    assert method.action == action_of(operation)


@pytest.mark.parametrize(("operation", "method"), PAIRS)
def test_a_method_takes_what_its_operation_takes(operation: Operation, method: Method) -> None:
    asked = {one["name"] for one in operation.parameters} | set(properties(operation.body))
    renamed = RENAMED.get(operation.name, {})
    wanted = {renamed.get(name, name) for name in asked - OF_STREAM.get(operation.name, set())}
    assert wanted - set(FIELDS_ONLY_OF_REST) - {*fields(method.request.DESCRIPTOR)} == set()


@pytest.mark.parametrize(("operation", "method"), PAIRS)
def test_a_method_answers_what_its_operation_answers(operation: Operation, method: Method) -> None:
    told = {name for schema in operation.answers.values() for name in properties(schema)}
    told -= OF_STREAM.get(operation.name, set())
    if "results" in told and not operation.is_stream:
        # The rows have the name of what they are.
        told.remove("results")
    assert told - set(FIELDS_ONLY_OF_REST) - {*fields(method.response.DESCRIPTOR)} == set()


_SCHEMAS: Mapping[str, Any] = document()["components"]["schemas"]


def properties(name: str) -> Iterator[str]:
    """List the fields of a schema, and those of the rows of a page."""
    if name:
        yield from _properties(_SCHEMAS[name])


def _properties(schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        schema = _SCHEMAS[schema["$ref"].rpartition("/")[2]]
    for one in schema.get("oneOf", ()):
        yield from _properties(one)
    for name, inner in schema.get("properties", {}).items():
        yield name
        if name in {"results", "tasks"} and "items" in inner:
            yield from _properties(inner["items"])


def fields(message: Any) -> Iterator[str]:
    """List the fields of a message, and those of the messages in them."""
    for field in message.fields:
        yield field.name
        if field.message_type is not None and field.message_type.full_name.startswith(f"{PACKAGE}."):
            yield from (inner.name for inner in field.message_type.fields)
