"""Input that must be refused: each a 4xx problem that names its field where there is one, and nothing has changed."""

import io
import time
import tracemalloc
from typing import Any

import pytest

from dlq.models import DeadLetter
from tasks.contract import fields
from tasks.contract.submissions import READERS
from tasks.models import IdempotencyKey, Journal, Queue, Task, Worker
from tests.api.bad_inputs import BULK, CASES, long_paths, many
from tests.callers import TASKS, assert_problem


@pytest.mark.parametrize("name", CASES)
def test_bad_input(alice, staff, worker, name):
    bad = CASES[name]
    task = alice.submit().json()["id"]
    path = bad.path.replace("{task}", task).replace("{worker}", str(worker.pk))
    headers = dict(bad.headers)
    content_type = headers.pop("Content-Type", "application/json")
    caller = staff if bad.is_from_staff else alice
    before = _everything()
    response = caller.generic(bad.method, path, bad.body, content_type=content_type, headers=headers)
    problem = assert_problem(response, bad.status, field=bad.named)
    assert len(problem["errors"]) == 1 or not name.startswith("field:")
    assert _everything() == before


def _everything() -> dict[str, Any]:
    """Read all rows that a request could change."""
    tables = (Task, Queue, Worker, Journal, IdempotencyKey, DeadLetter)
    return {table.__name__: list(table._default_manager.order_by("pk").values()) for table in tables}


@pytest.mark.parametrize("name", ["NaN", "-Infinity", "bad UTF-8", "a duplicate field", "5,000 digits", "5,000 arrays"])
def test_what_is_no_json_is_malformed_rather_than_invalid(alice, name):
    assert_problem(
        alice.post(TASKS, CASES[f"body: {name}"].body, content_type="application/json"), 400, code="malformed"
    )


@pytest.mark.parametrize(("theirs", "ours"), fields.SYNONYMS.items())
def test_who_uses_the_words_of_another_scheduler_is_told_ours(alice, theirs, ours):
    assert ours in READERS
    assert theirs not in READERS
    problem = assert_problem(alice.submit(**{theirs: "x"}), 400, field=theirs)
    (error,) = problem["errors"]
    assert f'"{ours}"' in error["message"]


def test_a_word_for_what_cannot_be_edited_is_no_hint(alice):
    url = alice.submit().json()["url"]
    (error,) = assert_problem(alice.patch(url, {"timeout": 1}, content_type="application/json"), 400)["errors"]
    assert error["message"].startswith("expected one of max_retries, ")


def test_a_payload_that_is_json_text_is_told_so(alice):
    (error,) = assert_problem(alice.submit(payload='{"do": "return"}'), 400, field="payload")["errors"]
    assert error["message"] == "expected an object, got a string: send the object itself"


def test_what_is_large_is_refused_in_little_time_and_memory(alice):
    bodies = [many(90_000, twice=True), many(90_000), long_paths()]
    bulk = b'{"tasks": [' + b",".join([many(90)] * 1_000) + b"]}"
    tracemalloc.start()
    started = time.process_time()
    for path, raw in [*((TASKS, body) for body in bodies), (BULK, bulk)]:
        problem = assert_problem(alice.post(path, raw, content_type="application/json"), 400)
        assert len(problem["errors"]) <= fields.MOST_ERRORS
    seconds, (_, most) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 20
    assert most < 200_000_000


MOST = 4 * 1024 * 1024


def _full_of(piece: bytes, *, before: bytes = b"[", after: bytes = b"1]") -> bytes:
    return before + piece * ((MOST - len(before) - len(after)) // len(piece)) + after


#: Bodies of 4 MB, each with its status.
FULL = {
    "arrays": (_full_of(b"[],"), 413),
    "objects": (_full_of(b"{},"), 413),
    "objects in objects": (_full_of(b'{"a":{}},'), 413),
    "open arrays": (_full_of(b"["), 413),
    "nested arrays": (b"[" * (MOST // 2) + b"]" * (MOST // 2), 413),
    "many shallow nests": (_full_of(b"[[[[[[]]]]]],"), 413),
    "deep behind strings": (b"[" + b'"ab",' * 390_000 + b"[" * 40 + b"]" * 41, 400),
    "escaped NULs": (_full_of(rb'"\u0000",'), 413),
    "one text of NULs": (_full_of(rb"\u0000", before=b'["', after=b'"]'), 400),
    "escaped quotes": (_full_of(rb"\"", before=b'["', after=b'"]'), 400),
    "quotes": (_full_of(b'"'), 413),
    "a number of millions of digits": (b"9" * MOST, 400),
    "a float of millions of digits": (b"0." + b"9" * (MOST - 2), 400),
    "an exponent of millions of digits": (b"1e" + b"0" * (MOST - 3) + b"1", 400),
    "numbers of a million digits": (_full_of(b"9" * 1_000_000 + b","), 400),
    "numbers of 4,299 digits": (_full_of(b"9" * 4_299 + b","), 400),
    "small numbers": (_full_of(b"1,"), 413),
    "exponents": (_full_of(b"1e99,"), 413),
    "exponents that are none": (_full_of(b"e1"), 400),
    "one name again and again": (_full_of(b'"a":1,', before=b"{", after=b'"a":1}'), 413),
    "names": (many(320_000), 413),
    "commas": (_full_of(b","), 413),
    "colons": (_full_of(b":"), 413),
    "white space": (_full_of(b" "), 400),
}


@pytest.mark.parametrize("name", FULL)
def test_the_largest_body_is_refused_in_a_moment(alice, name):
    raw, status = FULL[name]
    assert len(raw) <= MOST
    started = time.process_time()
    response = alice.post(TASKS, raw, content_type="application/json")
    seconds = time.process_time() - started
    assert_problem(response, status, code="too_large" if status == 413 else "malformed")
    # A tenth of a second on an idle machine; without the look at its structure `[]` took two.
    assert seconds < 0.5


def test_the_largest_bulk_is_taken(staff):
    task = {"actor": "act", "payload": {"do": "return", "value": [{"n": 1}] * 8}, "priority": 5, "tags": ["a"]}
    assert staff.send(BULK, {"tasks": [task] * 1_000}).status_code == 201


def test_signs_within_text_are_no_structure(alice):
    text = '[{,:1e9"\\' * 20_000
    answer = alice.submit(payload={"do": "return", "value": text})
    assert answer.json()["payload"]["value"] == text


@pytest.mark.parametrize(
    ("before", "field"),
    [('"payload": {"do": "a\\\\\\"[", "value": ', "payload"), ('"tags": [[1], "b"], "queue": ', "queue")],
)
def test_the_field_that_is_nested_too_deeply_is_named(alice, before, field):
    raw = '{"actor": "act", ' + before + "[" * 60
    assert_problem(alice.post(TASKS, raw.encode(), content_type="application/json"), 400, field=field)


def test_the_budget_of_values_is_a_setting(alice, settings):
    settings.MAX_JSON_VALUES = 1_000
    assert alice.submit(payload={"do": "return", "value": [1] * 900}).status_code == 201
    refused = alice.submit(payload={"do": "return", "value": [1] * 1_800})
    assert "1000 values" in assert_problem(refused, 413, code="too_large")["detail"]


def test_the_good_body_behind_the_bad_headers_is_good(alice):
    assert alice.generic("POST", TASKS, b'{"actor": "limited"}', content_type="application/json").status_code == 201


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=UTF-8", "Application/JSON", "application/vnd.x+json"]
)
def test_common_spellings_of_json_are_understood(alice, content_type):
    assert alice.generic("POST", TASKS, b'{"actor": "limited"}', content_type=content_type).status_code == 201


@pytest.mark.parametrize("declared", ["5000000", "99999999999999999999"])
def test_a_body_that_says_it_is_too_large_is_not_read(alice, declared):
    response = alice.generic("POST", TASKS, b"{}", content_type="application/json", CONTENT_LENGTH=declared)
    assert_problem(response, 413, code="too_large")


def _chunked(alice, stream):
    """Send a body in chunks, of a length that nobody knows beforehand, as a server hands it on."""
    environ = {"wsgi.input": stream, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    return alice.request(PATH_INFO=TASKS, REQUEST_METHOD="POST", CONTENT_TYPE="application/json", **environ)


def test_a_body_in_chunks_is_read(alice):
    assert _chunked(alice, io.BytesIO(b'{"actor": "limited"}')).status_code == 201


class _Broken(io.BytesIO):
    def read(self, *args):
        raise BrokenChunk("zz")


class BrokenChunk(Exception):
    """What a server raises; gunicorn's is no OSError either."""


def test_chunks_that_cannot_be_read_are_malformed(alice):
    assert_problem(_chunked(alice, _Broken()), 400, code="malformed")


def test_an_endless_body_in_chunks_is_read_no_further_than_the_limit(alice, settings):
    stream = io.BytesIO(b"x" * 20_000_000)
    assert_problem(_chunked(alice, stream), 413, code="too_large")
    assert stream.tell() == settings.MAX_BODY_BYTES + 1


def test_a_body_of_exactly_the_limit_is_read(alice, settings):
    settings.MAX_BODY_BYTES = 4096
    body = b'{"actor": "limited"}'
    assert alice.post(TASKS, body.ljust(4096), content_type="application/json").status_code == 201
    assert_problem(alice.post(TASKS, body.ljust(4097), content_type="application/json"), 413)
