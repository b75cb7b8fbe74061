"""Trace ids: which are accepted from a caller, and which are replaced."""

import re
from uuid import UUID

import pytest
import structlog

from tasks.telemetry import trace

ID = "0af7651916cd43dd8448eb211c80319c"
OTHER = "1bf7651916cd43dd8448eb211c80319d"


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_X_TRACE_ID": ID},
        {"HTTP_TRACEPARENT": f"00-{ID}-b7ad6b7169203331-01"},
        {"HTTP_TRACEPARENT": f"cc-{ID}-b7ad6b7169203331-01-what-the-future-will-be-like"},
        {"HTTP_X_TRACE_ID": ID, "HTTP_TRACEPARENT": f"00-{OTHER}-b7ad6b7169203331-01"},
        {"HTTP_X_TRACE_ID": "nonsense", "HTTP_TRACEPARENT": f"00-{ID}-b7ad6b7169203331-01"},
    ],
)
def test_a_callers_trace_goes_on(headers):
    assert trace.from_headers(headers) == ID


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (ID.upper(), ID),
        (f" {ID}\t", ID),
        (str(UUID(ID)), ID),
        (str(UUID(ID)).upper(), ID),
        (f"urn:uuid:{UUID(ID)}", ID),
        (f"{{{UUID(ID)}}}", ID),
        (f"1-{ID[:8]}-{ID[8:]}", ID),
        (f"Root=1-{ID[:8]}-{ID[8:]};Parent=53995c3f42cd8ad8;Sampled=1", ID),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01563e3ab5d3d6764c61efb99302bd5b"),
        (f"00-{ID}-b7ad6b7169203331-01", ID),
        (ID[-16:], ID[-16:].zfill(32)),
        (ID[-31:], ID[-31:].zfill(32)),
        (f"f{ID}", ID),
        (f"{OTHER}{ID}", ID),
    ],
)
def test_a_callers_trace_id_of_any_common_form_is_kept_with_32_digits(given, kept):
    assert trace.from_headers({"HTTP_X_TRACE_ID": given}) == kept


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"HTTP_X_TRACE_ID": ID[:15]},
        {"HTTP_X_TRACE_ID": f"{ID}{ID}0"},
        {"HTTP_X_TRACE_ID": f"{ID[:16]}-{ID[16:]}"},
        {"HTTP_X_TRACE_ID": f"{ID}{'0' * 32}"},
        {"HTTP_X_TRACE_ID": "0" * 16},
        {"HTTP_X_TRACE_ID": "\u0660" * 32},
        {"HTTP_X_TRACE_ID": "81ARZ3NDEKTSV4RRFFQ69G5FAV"},
        {"HTTP_X_TRACE_ID": "01ARZ3NDEKTSV4RRFFQ69G5FAU"},
        {"HTTP_X_TRACE_ID": f"1-{ID[:8]}-{ID[8:-1]}"},
        {"HTTP_X_TRACE_ID": f"{ID}\n"},
        {"HTTP_X_TRACE_ID": "0" * 32},
        {"HTTP_X_TRACE_ID": '{"event": "forged"}'},
        {"HTTP_TRACEPARENT": f"ff-{ID}-b7ad6b7169203331-01"},
        {"HTTP_TRACEPARENT": f"00-{ID}-0000000000000000-01"},
        {"HTTP_TRACEPARENT": f"00-{'0' * 32}-b7ad6b7169203331-01"},
        {"HTTP_TRACEPARENT": f"00-{ID}-b7ad6b7169203331"},
        {"HTTP_TRACEPARENT": f"00-{ID}-b7ad6b7169203331-01-more"},
    ],
)
def test_a_malformed_trace_id_is_replaced(headers):
    drawn = trace.from_headers(headers)
    assert re.fullmatch("[0-9a-f]{32}", drawn)
    assert drawn not in str(headers)


def test_every_trace_is_another():
    assert trace.new_trace_id() != trace.new_trace_id()


def test_a_trace_is_bound_within_its_block():
    assert trace.current() == ""
    with trace.bound(ID, task_id="t"):
        assert trace.current() == ID
        assert structlog.contextvars.get_contextvars() == {"trace_id": ID, "task_id": "t"}
        with trace.bound(OTHER):
            assert trace.current() == OTHER
        assert trace.current() == ID
    assert trace.current() == ""
