"""The spans of a whole stack, as an OpenTelemetry collector gets them: over HTTP, from three kinds of processes."""

import gzip
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import pytest

from scheduler_site.embedded.processes import free_port
from tests.acceptance.harness.history import Submission
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
REQUEST, PARENT, CHILD = "POST /api/v1/tasks/bulk", "fail_and_submit", "effect"
#: Every span of one request whose task fails once, then submits another.
NAMES = sorted(
    [REQUEST, f"submit {PARENT}", f"wait {PARENT}", PARENT, PARENT, f"submit {CHILD}", f"wait {CHILD}", CHILD]
)
ERROR = 2


class Collector:
    """Takes spans as OTLP over HTTP with protobuf, and keeps those of one trace."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_trace = (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
                if is_trace:
                    collector.bodies.append(
                        gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                    )
                self.send_response(200 if is_trace else 400)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator["Collector"]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def spans(self) -> list[Any]:
        """Parse what has come; give the spans of the trace."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # type: ignore[import-not-found, unused-ignore]
            ExportTraceServiceRequest,
        )

        return [
            span
            for body in list(self.bodies)
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans
            if ("service.name", "callboard")
            in [(one.key, one.value.string_value) for one in of_resource.resource.attributes]
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
            if span.trace_id.hex() == TRACE
        ]

    def names(self) -> list[str]:
        return sorted(span.name for span in self.spans())


@pytest.fixture
def collector() -> Iterator[Collector]:
    if find_spec("opentelemetry.exporter") is None or find_spec("opentelemetry.proto") is None:
        # In CI a missing package must not look like spans that arrive.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs: pip install 'callboard[otel]'")
    with Collector().serving() as one:
        yield one


def start(rig: Rig, endpoint: str, **variables: str) -> Any:
    """Start a stack that traces to an endpoint; give its api."""
    env: Mapping[str, str] = {"TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **variables}
    rig.start_scheduler(env=env)
    rig.start_workers(env=env)
    return rig.start_api(env=env)


def submit(rig: Rig, api: Any) -> None:
    """Submit a task that fails once and then submits another, as a caller that traces."""
    tasks = [{"actor": PARENT, "payload": {"times": 1, "tag": "child"}, "tags": ["parent"]}]
    reply = api.call("/api/v1/tasks/bulk", {"tasks": tasks}, traceparent=f"00-{TRACE}-{CALLER}-01")
    assert reply.status == 201, reply.body
    rig.client.history.submissions.append(Submission("parent", "ok", 1, (reply.body["tasks"][0]["id"],)))
    rig.client.history.submissions.append(Submission("child", "ok", 1, ()))
    rig.await_effects(2)


def assert_is_one_tree(spans: list[Any]) -> None:
    found: dict[str, list[Any]] = {}
    for span in sorted(spans, key=lambda one: int(one.start_time_unix_nano)):
        found.setdefault(span.name, []).append(span)
    assert sorted(span.name for span in spans) == NAMES
    first, second = found[PARENT]
    parents = {
        REQUEST: bytes.fromhex(CALLER),
        f"submit {PARENT}": found[REQUEST][0].span_id,
        f"wait {PARENT}": found[f"submit {PARENT}"][0].span_id,
        PARENT: found[f"submit {PARENT}"][0].span_id,
        f"submit {CHILD}": second.span_id,
        f"wait {CHILD}": found[f"submit {CHILD}"][0].span_id,
        CHILD: found[f"submit {CHILD}"][0].span_id,
    }
    assert {(span.name, span.parent_span_id) for span in spans} == set(parents.items())
    assert (first.status.code == ERROR, second.status.code == ERROR) == (True, False)
    assert (first.status.message, len(first.events)) == ("RuntimeError", 0)


def test_one_trace_arrives_from_the_request_through_the_queue_to_each_attempt(rig: Rig, collector: Collector) -> None:
    submit(rig, start(rig, collector.url))
    # The SDK sends every five seconds.
    wait_until(lambda: collector.names() == NAMES, timeout=30, interval=0.1, what=collector.names)
    rig.verify(within=10)
    assert_is_one_tree(collector.spans())


def test_processes_that_stop_send_their_last_spans(rig: Rig, collector: Collector) -> None:
    submit(rig, start(rig, collector.url, OTEL_BSP_SCHEDULE_DELAY="600000"))
    assert collector.names() == []
    rig.verify(within=10)
    assert_is_one_tree(collector.spans())


def test_a_collector_that_is_away_stops_nothing(rig: Rig, collector: Collector) -> None:
    submit(rig, start(rig, f"http://127.0.0.1:{free_port()}", OTEL_BSP_SCHEDULE_DELAY="200"))
    rig.verify(within=10)
    assert collector.names() == []
