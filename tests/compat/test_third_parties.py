"""Packages that others built on Dramatiq, on Callboard."""

import os
import time
from typing import Any

import pytest
from dramatiq.rate_limits.backends import RedisBackend as RateBackend

from tasks.models import Attempt, Task
from tasks.states import AttemptOutcome, Status
from tests.waiting import wait_until

needs_redis = pytest.mark.skipif(not os.environ.get("REDIS_URL"), reason="needs Redis")

seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


# --- dramatiq-abort ---------------------------------------------------------------------------------------------------


@pytest.fixture
def abortable(scheduled: Any) -> Any:
    from dramatiq_abort import Abortable
    from dramatiq_abort.backends import RedisBackend

    from tasks.broker import redis_url

    scheduled.broker.add_middleware(Abortable(backend=RedisBackend(client=redis_url.client(os.environ["REDIS_URL"]))))
    # Its thread starts with the process of a worker.
    scheduled.broker.emit_after("process_boot")
    return scheduled


@needs_redis
def test_abort_ends_what_runs_and_it_is_not_retried(abortable, declare, run) -> None:
    from dramatiq_abort import abort

    def long() -> None:
        seen.append("started")
        for _ in range(500):
            time.sleep(0.02)

    actor = declare(long, max_retries=3, min_backoff=1, max_backoff=1)
    abortable.start_worker()
    message = actor.send()
    wait_until(lambda: seen)
    abort(message.message_id, abort_ttl=10_000)
    task = run(message)
    assert (task.status, seen) == (Status.CANCELLED, ["started"])


@needs_redis
def test_abort_keeps_what_waits_from_running(abortable, declare, run) -> None:
    from dramatiq_abort import abort

    actor = declare(lambda: seen.append("ran"), actor_name="aborted_early")
    message = actor.send_with_options(delay=300)
    abort(message.message_id, abort_ttl=10_000)
    assert (run(message).status == Status.SUCCEEDED, seen) == (False, [])


# --- sentry-sdk -------------------------------------------------------------------------------------------------------


def test_sentry_hears_of_each_failed_attempt(declare, run, scheduled, monkeypatch) -> None:
    import sentry_sdk
    from sentry_sdk.integrations.dramatiq import DramatiqIntegration, SentryMiddleware

    # It would add its middleware to every later broker of this process.
    monkeypatch.setattr(DramatiqIntegration, "setup_once", staticmethod(lambda: None))
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        default_integrations=False,
        integrations=[DramatiqIntegration()],
        before_send=lambda event, _hint: seen.append(event),
    )
    try:
        scheduled.broker.add_middleware(SentryMiddleware())

        def breaks() -> None:
            raise ValueError("for sentry")

        run(declare(breaks, max_retries=1, min_backoff=1, max_backoff=1).send())
        wait_until(lambda: len(seen) == 2)
    finally:
        sentry_sdk.init(default_integrations=False)
    assert all("for sentry" in repr(event) and "breaks" in repr(event) for event in seen)


# --- OpenTelemetry ----------------------------------------------------------------------------------------------------


def test_opentelemetry_has_one_trace_from_the_sender_to_the_worker(declare, run, scheduled) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry_instrumentor_dramatiq import DramatiqInstrumentor

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    # It adds its middleware to the broker of the process.
    DramatiqInstrumentor().instrument(tracer_provider=provider)
    try:
        run(declare(lambda: None, actor_name="traced").send())
        wait_until(lambda: len(spans.get_finished_spans()) == 2)
    finally:
        DramatiqInstrumentor().uninstrument()
    assert len({span.context.trace_id for span in spans.get_finished_spans()}) == 1


# --- periodiq, APScheduler --------------------------------------------------------------------------------------------


def test_periodiq_takes_the_actors_that_declare_a_period(declare, run, scheduled) -> None:
    from periodiq import PeriodiqMiddleware, cron

    scheduled.broker.add_middleware(PeriodiqMiddleware(skip_delay=30))
    actor = declare(lambda: seen.append("ticked"), actor_name="ticks", periodic=cron("* * * * *"))
    assert str(actor.options["periodic"]) == "* * * * *"
    # As periodiq's own scheduler sends it, with the time of the tick for the skipping of late ones.
    message = actor.message_with_options(args=(), kwargs={}, scheduled_at="2000-01-01T00:00:00+00:00")
    late = run(scheduled.broker.enqueue(message))
    prompt = run(actor.send())
    assert (late.status == Status.SUCCEEDED, prompt.status, seen) == (False, Status.SUCCEEDED, ["ticked"])


def test_apscheduler_may_drive_sends(declare, run, scheduled) -> None:
    from apscheduler.schedulers.background import BackgroundScheduler
    from django.db import connection

    actor = declare(lambda: None, actor_name="driven")

    def send() -> None:
        seen.append(actor.send())
        # Its threads come and go with their sessions.
        connection.close()

    scheduler = BackgroundScheduler()
    scheduler.add_job(send, "interval", seconds=0.1)
    scheduler.start()
    wait_until(lambda: len(seen) >= 3)
    scheduler.shutdown()
    assert {task.status for task in run(*seen)} == {Status.SUCCEEDED}


# --- dramatiq-workflow ------------------------------------------------------------------------------------------------


@needs_redis
def test_a_workflow_of_chains_and_groups_runs_in_its_order(declare, run, scheduled) -> None:
    from dramatiq_workflow import Chain, Group, Workflow, WorkflowMiddleware

    scheduled.broker.add_middleware(WorkflowMiddleware(rate_limiter_backend=RateBackend(url=os.environ["REDIS_URL"])))
    step = declare(seen.append, actor_name="step")
    scheduled.start_worker()
    workflow = Chain(step.message("a"), Group(step.message("b"), step.message("c")), step.message("d"))
    Workflow(workflow, broker=scheduled.broker).run()
    wait_until(lambda: len(seen) == 4)
    assert (seen[0], seen[-1], set(seen)) == ("a", "d", {"a", "b", "c", "d"})
    wait_until(lambda: not Task.objects.exclude(status=Status.SUCCEEDED).exists())


# --- Dramatiq's own Prometheus, django-dramatiq's AdminMiddleware and its test case -----------------------------------


def test_dramatiqs_prometheus_counts_by_the_actors_queue(declare, run, scheduled) -> None:
    from dramatiq.middleware.prometheus import Prometheus

    prometheus = Prometheus()
    scheduled.broker.add_middleware(prometheus)
    prometheus.after_process_boot(scheduled.broker)

    def breaks() -> None:
        raise RuntimeError

    run(declare(breaks, queue_name="mail", max_retries=1, min_backoff=1, max_backoff=1).send())

    def total(metric: Any) -> dict[Any, float]:
        samples = [sample for family in metric.collect() for sample in family.samples if sample.name.endswith("_total")]
        return {(one.labels["actor_name"], one.labels["queue_name"]): one.value for one in samples if one.value}

    wait_until(lambda: total(prometheus.total_rejected_messages))
    assert total(prometheus.total_messages) == {("breaks", "mail"): 2}
    assert total(prometheus.total_retried_messages) == {("breaks", "mail"): 1}


def test_the_admin_middleware_keeps_its_rows(declare, run, scheduled) -> None:
    from django_dramatiq.middleware import AdminMiddleware
    from django_dramatiq.models import Task as Theirs

    scheduled.broker.add_middleware(AdminMiddleware())
    run(declare(lambda: None, actor_name="admired", queue_name="mail").send())
    wait_until(lambda: Theirs.tasks.filter(actor_name="admired", queue_name="mail", status="done").exists())
    assert Attempt.objects.get().outcome == AttemptOutcome.SUCCEEDED
