"""Hints: what a broker carries, and what it may bring back."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import hint
from tasks.hint import Hint


@given(st.uuids(), st.integers(1, 2**31 - 1))
def test_a_hint_survives_the_broker(task_id: UUID, dispatch: int) -> None:
    sent = Hint(task_id, dispatch)
    assert hint.decode(hint.encode(sent).encode()) == sent


@given(st.binary(max_size=60))
def test_no_bytes_raise_an_error(body: bytes) -> None:
    decoded = hint.decode(body)
    assert decoded is None or hint.encode(decoded).encode() == body


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"\xff\xfe",
        b'{"queue_name": "default"}',
        b"0190b6c0-0000-7000-8000-000000000000",
        b"0190b6c0-0000-7000-8000-000000000000:",
        b"0190b6c0-0000-7000-8000-000000000000:0",
        b"0190b6c0-0000-7000-8000-000000000000:-1",
        b"0190b6c0-0000-7000-8000-000000000000:01",
        b"0190b6c0-0000-7000-8000-000000000000: 1",
        b"0190b6c0-0000-7000-8000-000000000000:1_0",
        b"0190b6c0-0000-7000-8000-000000000000:2147483648",
        b"0190B6C0-0000-7000-8000-000000000000:1",
        b"{0190b6c0-0000-7000-8000-000000000000}:1",
        b"0190b6c0000070008000000000000000:1",
        b"0190b6c0-0000-7000-8000-000000000000:1" + b"0" * 10_000,
    ],
)
def test_a_foreign_or_forged_hint_is_none(body: bytes | None) -> None:
    assert hint.decode(body) is None
