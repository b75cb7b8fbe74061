"""Priorities, backoff, hints and states: pure functions."""

import doctest
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlq import fingerprint
from tasks import errors, hint, priority
from tasks.broker import redis_url
from tasks.db import json_text
from tasks.hint import Hint
from tasks.queries import forecast
from tasks.states import DUE, FINAL, WAITING, Status


@pytest.mark.parametrize("module", [priority, fingerprint, json_text, redis_url, forecast])
def test_the_examples_in_docstrings_hold(module) -> None:
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 0


def test_bands_cover_every_priority_once() -> None:
    covered = [n for band in priority.BANDS for n in range(band.lowest, band.highest + 1)]
    assert sorted(covered) == list(range(1, 11))
    for band in priority.BANDS:
        assert band.lowest <= band.default <= band.highest
        assert priority.band_of(band.default) == band.name
        assert priority.parse_priority(f" {band.name.upper()} ") == band.default


@pytest.mark.parametrize("value", [0, 11, -1, True, False, None, "", "urgent", "5", 5.0, [], {}])
def test_an_invalid_priority_is_refused_with_the_valid_ones(value) -> None:
    with pytest.raises(ValueError, match=r'expected a whole number from 1 to 10 or "high", "medium", "low", got'):
        priority.parse_priority(value)


# --- Hints ---


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


# --- Words ---


def test_states_are_divided_without_rest() -> None:
    assert WAITING | FINAL | {Status.RUNNING} == set(Status)
    assert not WAITING & FINAL
    assert DUE < WAITING


def _tree(cls: type[errors.CallboardError]) -> list[type[errors.CallboardError]]:
    return [cls, *(one for child in cls.__subclasses__() for one in _tree(child))]


def test_every_error_has_a_message_and_an_answer() -> None:
    for cls in _tree(errors.CallboardError):
        assert cls.__doc__, cls
        assert cls.code in errors.STATUS_OF_CODE, cls


def test_every_answer_belongs_to_an_error() -> None:
    assert {cls.code for cls in _tree(errors.CallboardError)} == set(errors.STATUS_OF_CODE)


def test_an_illegal_transition_names_its_verb_its_status_and_the_legal_ones() -> None:
    error = errors.IllegalTransition("retry", status="RUNNING", allowed=("DEAD", "CANCELLED"))
    assert str(error) == "cannot retry a task that is RUNNING; it must be DEAD or CANCELLED"


def test_a_url_of_sentinels_is_read_completely() -> None:
    url = "rediss+sentinel://us%40er:p%2Fw@one:1,two/main/3?ssl_ca_certs=/ca.pem&sentinel_password=other"
    service = redis_url.parse_service(url)
    assert (service.sentinels, service.name) == ([("one", 1), ("two", 26379)], "main")
    tls = {"ssl": True, "ssl_ca_certs": "/ca.pem"}
    assert service.options == {"username": "us@er", "password": "p/w", "db": 3, **tls}
    assert service.of_sentinels == {"username": None, "password": "other", **tls}


@pytest.mark.parametrize("url", ["redis+sentinel://", "redis+sentinel://host:1", "redis+sentinel://host:x/main"])
def test_half_a_url_of_sentinels_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"sentinel|int"):
        redis_url.parse_service(url)


def test_deaths_that_differ_in_a_secret_have_one_cause():
    messages = [f"cannot log in, password={one}" for one in ("hunter2", "swordfish", "********")]
    assert len({fingerprint.fingerprint("mail", "ValueError", message) for message in messages}) == 1
