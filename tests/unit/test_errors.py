"""The tree of errors and its table."""

import pytest

from tasks.errors import (
    STATUS_OF_CODE,
    CallboardError,
    FieldError,
    IllegalTransition,
    InvalidTask,
    as_dict,
    describe,
    http_status,
)


def _tree(error: type[CallboardError]) -> list[type[CallboardError]]:
    return [error, *(below for child in error.__subclasses__() for below in _tree(child))]


# A subclass in another module has been imported by the time tests are collected.
TREE = [error for error in _tree(CallboardError) if error.__module__.startswith(("tasks.", "dlq."))]


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_every_error_has_a_status(error):
    status, grpc = STATUS_OF_CODE[error.code]
    assert 400 <= status <= 599
    assert grpc.isupper()


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_every_error_says_something_by_itself(error):
    assert error.__doc__, "the docstring is the default message"
    assert error.__doc__.strip().splitlines()[0].endswith(".")


def test_every_status_belongs_to_an_error():
    assert set(STATUS_OF_CODE) == {error.code for error in TREE}


def test_an_error_without_words_says_its_docstring():
    assert str(InvalidTask()) == "The request is not valid; see the errors of its fields."


def test_an_error_carries_its_fields():
    field = FieldError("payload.to", "required", "expected an address")
    error = InvalidTask("no", errors=[field])
    assert (http_status(error), str(error), error.errors) == (400, "no", (field,))
    assert as_dict(field) == {"field": "payload.to", "code": "required", "message": "expected an address"}
    assert describe([field, field]) == "payload.to: expected an address; payload.to: expected an address"


def test_an_illegal_transition_names_its_verb_its_status_and_the_legal_ones() -> None:
    error = IllegalTransition("retry", status="RUNNING", allowed=("DEAD", "CANCELLED"))
    assert str(error) == "cannot retry a task that is RUNNING; it must be DEAD or CANCELLED"
