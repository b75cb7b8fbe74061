"""The idempotency key, in a body or beside it."""

import pytest

from tasks.contract.idempotency_key import LONGEST, take_key
from tasks.errors import InvalidTask


def test_a_key_is_taken_out_of_the_body_or_from_the_header() -> None:
    body = {"actor": "note", "idempotency_key": "k"}
    assert take_key(body) == "k"
    assert body == {"actor": "note"}
    assert take_key({}, in_header="k") == "k"
    assert take_key({"idempotency_key": "k"}, in_header="k") == "k"
    assert take_key({}) is None


def test_two_different_keys_are_refused() -> None:
    with pytest.raises(InvalidTask) as caught:
        take_key({"idempotency_key": "a"}, in_header="b")
    assert [error.code for error in caught.value.errors] == ["exclusive"]


@pytest.mark.parametrize("key", [7, "", "x" * (LONGEST + 1), "a\0b", ["k"]])
def test_a_key_that_is_not_text_is_refused(key: object) -> None:
    with pytest.raises(InvalidTask) as caught:
        take_key({"idempotency_key": key})
    assert [error.field for error in caught.value.errors] == ["idempotency_key"]
