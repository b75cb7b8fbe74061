"""OpenTelemetry: one trace from the request that submits a task, through its wait, to each of its attempts.

Loaded only with ``TRACING``. The row of a task has its trace id and nothing else of a trace: the id of the span of its
submission is made from the task's own id, so every attempt knows its parent, in any process and after any restart.

=====================  ========  =====================================================================================
span                   kind      parent
=====================  ========  =====================================================================================
POST /api/v1/tasks     SERVER    the caller's, from ``traceparent``
submit <actor>         PRODUCER  the request, or the attempt in which the task was submitted
wait <actor>           INTERNAL  the submission; up to the first attempt
<actor>                CONSUMER  the submission; one for each attempt, and what the actor itself traces is below it
=====================  ========  =====================================================================================

No payload, result or text of an error gets into a span.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import dramatiq
from dramatiq import Broker, MessageProxy
from dramatiq.middleware import Middleware
from opentelemetry import context as otel_context
from opentelemetry import propagate
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags

from tasks import __version__
from tasks.lifecycle import Moved, transitioned
from tasks.telemetry import trace

#: Of a larger batch no task gets a span of its own; the request has one.
MOST_SPANS = 1_000
FLUSH_MILLISECONDS = 2_000

_chosen: ContextVar[tuple[int | None, int | None]] = ContextVar("chosen ids", default=(None, None))


class Ids(IdGenerator):
    """Draws ids as another generator does, except for the next span if its ids are chosen."""

    def __init__(self, usual: IdGenerator) -> None:
        self._usual = usual

    def generate_trace_id(self) -> int:
        """Give the id of a trace."""
        return _chosen.get()[0] or self._usual.generate_trace_id()

    def generate_span_id(self) -> int:
        """Give the id of a span."""
        return _chosen.get()[1] or self._usual.generate_span_id()


class Tracing:
    """What this process traces, and where its spans go."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        if not isinstance(provider.id_generator, Ids):
            provider.id_generator = Ids(provider.id_generator)  # type: ignore[assignment]
        self._tracer = provider.get_tracer("callboard", __version__)

    def connect(self) -> None:
        """Begin."""
        transitioned.connect(self._on_moves, dispatch_uid="callboard.tracing")
        dramatiq.get_broker().add_middleware(Attempts(self))
        trace.active, trace.outgoing = self, outgoing

    @contextmanager
    def request(self, name: str, *, trace_id: str, traceparent: str) -> Iterator[Span]:
        """Trace a request or a call; what is submitted within the block belongs to it.

        Parameters:
            trace_id: the one that the task's row gets.
            traceparent: the caller's; it is the parent if it is of that trace.
        """
        number = int(trace_id, 16)
        given = otel.get_current_span(propagate.extract({"traceparent": traceparent}, context=Context()))
        parent = given.get_span_context()
        is_parent = parent.is_valid and parent.trace_id == number
        span = self._start(
            name, kind=SpanKind.SERVER, trace_id=number, context=otel.set_span_in_context(given, Context()) if is_parent
            else Context(),
        )  # fmt: skip
        with otel.use_span(span, end_on_exit=True, record_exception=False):
            yield span

    def begin_attempt(self, execution: Any) -> Span:
        """Start the span of an attempt, and write that of the wait before the first one."""
        claimed = execution.claimed
        submission = self._submission(claimed.id, claimed.trace_id)
        if claimed.attempt == 1:
            # The first 48 bits of the id are its milliseconds.
            created_at = (claimed.id.int >> 80) * 1_000_000
            waiting = self._start(f"wait {claimed.actor}", context=submission, start_time=created_at)
            waiting.end(max(created_at, time.time_ns()))
        attributes = {**_of_task(claimed.id, claimed.actor, claimed.queue), "callboard.attempt": claimed.attempt}
        return self._start(claimed.actor, kind=SpanKind.CONSUMER, context=submission, attributes=attributes)

    def flush(self) -> None:
        """Send what has ended, before the process does."""
        self._provider.force_flush(FLUSH_MILLISECONDS)

    def _on_moves(self, *, verb: str, moves: Sequence[Moved], **_: Any) -> None:
        if verb != "submit" or len(moves) > MOST_SPANS:
            return
        here = otel.get_current_span().get_span_context()
        for move in moves:
            number = int(move.trace_id, 16)
            context = otel_context.get_current() if here.trace_id == number else Context()
            self._start(
                f"submit {move.actor}", kind=SpanKind.PRODUCER, context=context, trace_id=number,
                span_id=_span_id(move.id), attributes=_of_task(move.id, move.actor, move.queue),
            ).end()  # fmt: skip

    def _submission(self, task_id: UUID, trace_id: str) -> Context:
        """Give the context of a submission, which another process may have traced."""
        number = int(trace_id, 16)
        # As it was decided there: samplers decide about a root by its trace id.
        is_sampled = self._provider.sampler.should_sample(None, number, "submit").decision.is_sampled()  # type: ignore[no-untyped-call]
        flags = TraceFlags(TraceFlags.SAMPLED if is_sampled else TraceFlags.DEFAULT)
        parent = SpanContext(number, _span_id(task_id), is_remote=True, trace_flags=flags)
        return otel.set_span_in_context(NonRecordingSpan(parent), Context())

    def _start(self, name: str, *, trace_id: int | None = None, span_id: int | None = None, **options: Any) -> Span:
        chosen = _chosen.set((trace_id, span_id))
        try:
            return self._tracer.start_span(name, **options)
        finally:
            _chosen.reset(chosen)


class Attempts(Middleware):
    """Makes the span of an attempt the current one while its actor runs."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._running = threading.local()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """Start the span."""
        execution = getattr(message, "execution", None)
        if execution is not None:
            span = self._tracing.begin_attempt(execution)
            self._running.span, self._running.token = span, otel_context.attach(otel.set_span_in_context(span))

    def after_process_message(
        self,
        broker: Broker,  # noqa: ARG002
        message: MessageProxy,  # noqa: ARG002
        *,
        result: Any = None,  # noqa: ARG002
        exception: BaseException | None = None,
    ) -> None:
        """End the span; of an error it keeps the type."""
        span, self._running.span = getattr(self._running, "span", None), None
        if span is None:
            return
        if exception is not None:
            span.set_status(StatusCode.ERROR, type(exception).__name__)
            span.set_attribute("error.type", type(exception).__name__)
        span.end()
        otel_context.detach(self._running.token)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """End the span of a task that a middleware skipped."""
        self.after_process_message(broker, message)

    def after_worker_shutdown(self, *_: Any) -> None:
        """Send the last spans: a worker process ends without Python's own clean-up."""
        self._tracing.flush()


def connect() -> None:
    """Trace this process, with the provider that the project has set, or one that the SDK's own variables describe."""
    provider = otel.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(resource=Resource.create(_resource()))
        provider.add_span_processor(BatchSpanProcessor(_exporter()))
        otel.set_tracer_provider(provider)
    Tracing(provider).connect()


def outgoing() -> Mapping[str, str]:
    """Write ``traceparent`` for a request that an actor sends."""
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers


def _resource() -> dict[str, Any]:
    name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "callboard"}
    return {**name, "service.version": __version__}


def _exporter() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # type: ignore[import-not-found, unused-ignore]

    return OTLPSpanExporter()


def _span_id(task_id: UUID) -> int:
    """Make the id of the submission's span: 64 bits of the task's id, of which 62 are random."""
    return task_id.int & (1 << 64) - 1


def _of_task(task_id: UUID, actor: str, queue: str) -> dict[str, str]:
    return {
        "messaging.system": "callboard",
        "messaging.message.id": str(task_id),
        "messaging.destination.name": queue,
        "callboard.actor": actor,
    }
