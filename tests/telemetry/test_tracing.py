"""OpenTelemetry: one trace from the request, through the wait, to every attempt and what it submits."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import dramatiq
import grpc
import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from tasks.actors import echo
from tasks.api.tracing import TracingMiddleware
from tasks.lifecycle import transitioned
from tasks.models import Task
from tasks.rpc.generated import task_pb2
from tasks.rpc.generated.task_pb2_grpc import TaskServiceStub
from tasks.states import Status
from tasks.telemetry import trace, tracing
from tests import engines
from tests.callers import TASKS
from tests.rpc.serving import metadata_of, served
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"

# A whole engine inside the test's process.
inprocess_broker, idle_engine, engine = engines.inprocess_broker, engines.idle_engine, engines.engine


def make_provider(spans: InMemorySpanExporter, **options: Any) -> TracerProvider:
    provider = TracerProvider(**options)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider


@pytest.fixture
def spans(inprocess_broker, settings, monkeypatch):
    """Trace this process into memory, as TRACING does it for a collector."""
    found = InMemorySpanExporter()
    of_process = tracing.Tracing(make_provider(found))
    monkeypatch.setattr(trace, "outgoing", trace.outgoing)
    monkeypatch.setattr(trace, "active", None)
    of_process.connect()
    settings.MIDDLEWARE = [
        settings.MIDDLEWARE[0],
        f"{TracingMiddleware.__module__}.{TracingMiddleware.__qualname__}",
        *settings.MIDDLEWARE[1:],
    ]
    yield found
    transitioned.disconnect(dispatch_uid="callboard.tracing")


def by_name(spans: InMemorySpanExporter) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for span in spans.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def hex_trace(span: Any) -> str:
    return f"{span.context.trace_id:032x}"


def submit(staff: Any, actor: str, **body: Any) -> Any:
    answer = staff.post(
        TASKS, {"actor": actor, **body}, content_type="application/json", headers={"traceparent": TRACEPARENT}
    )
    assert answer.status_code == 201, answer.content
    return answer


def ended(id: str) -> Task | None:
    return Task.objects.filter(pk=id, status__in=[Status.SUCCEEDED, Status.DEAD]).first()


def test_one_trace_from_the_callers_span_to_the_attempt(spans, engine, staff) -> None:
    answer = submit(staff, "echo", payload={"message": "a secret"})
    id = answer.json()["id"]
    wait_until(lambda: ended(id) and "echo" in by_name(spans))
    found = by_name(spans)
    (request,), (submission,), (waiting,), (attempt,) = (
        found[name] for name in ("POST /api/v1/tasks", "submit echo", "wait echo", "echo")
    )
    assert {hex_trace(span) for span in (request, submission, waiting, attempt)} == {TRACE}
    assert f"{request.parent.span_id:016x}" == CALLER
    assert submission.parent.span_id == request.context.span_id
    assert waiting.parent.span_id == attempt.parent.span_id == submission.context.span_id
    assert submission.context.span_id == UUID(id).int & (1 << 64) - 1
    assert waiting.start_time <= waiting.end_time <= attempt.end_time
    assert attempt.attributes["callboard.attempt"] == 1
    assert answer["traceparent"] == f"00-{TRACE}-{request.context.span_id:016x}-01"
    assert answer["X-Trace-Id"] == TRACE
    assert "a secret" not in "".join(span.to_json() for span in spans.get_finished_spans())


def test_every_attempt_has_a_span_and_an_error_keeps_its_type_only(spans, engine, staff, settings) -> None:
    settings.DEFAULT_MIN_BACKOFF_SECONDS = 0.01
    body = {"payload": {"fail": True}, "max_retries": 1, "min_backoff_seconds": 1, "max_backoff_seconds": 60}
    id = submit(staff, "demo_fail", **body).json()["id"]
    wait_until(lambda: ended(id) and len(by_name(spans).get("demo_fail", [])) == 2, timeout=15)
    attempts = by_name(spans)["demo_fail"]
    assert [span.attributes["callboard.attempt"] for span in attempts] == [1, 2]
    assert len(by_name(spans)["wait demo_fail"]) == 1
    for span in attempts:
        assert (span.status.status_code, span.events) == (otel.StatusCode.ERROR, ())
        assert span.status.description == span.attributes["error.type"]


def test_what_an_actor_submits_and_sends_belongs_to_its_attempt(spans, engine, staff, monkeypatch) -> None:
    sent: list[Any] = []

    def with_child(message: str) -> str:
        sent.append((dict(trace.outgoing()), otel.get_current_span().get_span_context()))
        echo.send(message="child")
        return message

    monkeypatch.setattr(dramatiq.get_broker().get_actor("simulate_work"), "fn", lambda **_: with_child("parent"))
    submit(staff, "simulate_work", payload={"any": 1})
    wait_until(lambda: "echo" in by_name(spans), timeout=15)
    found = by_name(spans)
    (parent,), (child,) = found["simulate_work"], found["submit echo"]
    assert child.parent.span_id == parent.context.span_id
    assert {hex_trace(span) for span in spans.get_finished_spans()} == {TRACE}
    ((headers, here),) = sent
    assert here.span_id == parent.context.span_id
    assert headers["traceparent"] == f"00-{TRACE}-{here.span_id:016x}-01"


def test_a_trace_id_without_a_parent_is_the_root(spans, engine, staff) -> None:
    answer = staff.post(
        TASKS, {"actor": "echo", "payload": {"message": 1}}, content_type="application/json",
        headers={"x-trace-id": TRACE, "traceparent": f"00-{'1' * 32}-{CALLER}-01"},
    )  # fmt: skip
    wait_until(lambda: ended(answer.json()["id"]) and "echo" in by_name(spans))
    (request,) = by_name(spans)["POST /api/v1/tasks"]
    assert (hex_trace(request), request.parent) == (TRACE, None)


def test_a_trace_that_is_not_sampled_has_no_attempts_either(inprocess_broker, idle_engine) -> None:
    found = InMemorySpanExporter()
    of_process = tracing.Tracing(make_provider(found, sampler=ALWAYS_OFF))
    dramatiq.get_broker().add_middleware(tracing.Attempts(of_process))
    idle_engine.start_scheduler()
    idle_engine.start_worker()
    message = echo.send(message="unseen")
    wait_until(lambda: ended(message.message_id))
    idle_engine.scheduler.stop()
    assert found.get_finished_spans() == ()


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    setup = "import django, os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'scheduler_site.settings'; "
    return subprocess.run(
        [sys.executable, "-c", setup + code],
        cwd=ROOT, env={"ENV_FILE": "/dev/null", "BROKER_URL": "inprocess://", **environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_off_means_that_nothing_of_it_is_loaded() -> None:
    # The Redis client takes OpenTelemetry where it is installed; here it is not.
    answer = run_python(
        "sys.modules['opentelemetry'] = None; django.setup();"
        "import scheduler_site.urls, tasks.rpc.server, tasks.worker.process, tasks.scheduler.process;"
        "sys.exit(bool({'tasks.telemetry.tracing', 'tasks.api.tracing'} & set(sys.modules)))"
    )
    assert (answer.returncode, answer.stderr) == (0, "")


def test_without_the_package_the_start_ends_with_one_line() -> None:
    answer = run_python("sys.modules['opentelemetry.sdk'] = None; django.setup()", TRACING="true")
    assert answer.stderr.splitlines()[-1].startswith(
        "django.core.exceptions.ImproperlyConfigured: TRACING: OpenTelemetry is not installed"
    )


def test_a_grpc_call_is_the_parent_of_what_it_submits(spans, transactional_db, alice) -> None:
    task = task_pb2.NewTask(actor="echo", payload='{"message": "hello"}')
    with served() as address, grpc.insecure_channel(address) as channel:
        TaskServiceStub(channel).SubmitTask(
            task_pb2.SubmitTaskRequest(task=task), metadata=[*metadata_of(alice), ("traceparent", TRACEPARENT)]
        )
        wait_until(lambda: "callboard.v1.TaskService/SubmitTask" in by_name(spans))
    found = by_name(spans)
    (call,), (submission,) = found["callboard.v1.TaskService/SubmitTask"], found["submit echo"]
    assert f"{call.parent.span_id:016x}" == CALLER
    assert submission.parent.span_id == call.context.span_id
    assert hex_trace(submission) == TRACE
