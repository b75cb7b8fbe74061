"""JSON Schemas of workers, queues and statistics: the answers."""

from collections.abc import Mapping

from tasks.api.json_schema import (
    BOOLEAN,
    ID,
    INTEGER,
    NUMBER,
    TEXT,
    TIME,
    Schema,
    about,
    an_object,
    array,
    enum,
    or_null,
    ref,
)
from tasks.api.schemas import page_of
from tasks.queries.stats import Window
from tasks.states import Status, WorkerStatus

_WORKER = {
    "id": about(ID, "A new id for each start of the process."),
    "host": about(TEXT, "The host that it runs on."),
    "pid": about(INTEGER, "Its process id on that host."),
    "status": about(
        enum(WorkerStatus),
        "The last reported status; after lease_expires_at the worker counts as lost.",
    ),
    "queues": array(TEXT, description="Queues that it serves, or single bands of them (default.high)."),
    "actors": array(TEXT, description="Actors that it can run."),
    "threads": about(INTEGER, "How many tasks it can run at the same time."),
    "build": about(or_null(TEXT), "The build of your code that it runs; null: unknown."),
    "memory_bytes": about(or_null(INTEGER), "The memory that it held at its last heartbeat; null: unknown."),
    "started_at": about(TIME, "When it started."),
    "heartbeat_at": about(TIME, "Its last heartbeat."),
    "lease_expires_at": about(TIME, "Without a heartbeat until then, other workers get its tasks."),
    "stopped_at": about(or_null(TIME), "When it stopped, or was declared gone."),
}

_QUEUE = {
    "name": about(TEXT, "The name that actors declare."),
    "paused_at": about(or_null(TIME), "When the queue was paused; null: it is not paused."),
    "waiting": about(INTEGER, "Tasks that are not in the broker yet, due or not."),
    "waiting_is_capped": about(BOOLEAN, "Whether counting stopped at a bound, so that there may be more."),
    "queued": about(INTEGER, "Tasks in the broker."),
    "running": about(INTEGER, "Tasks that workers have claimed."),
    "oldest_due_seconds": about(or_null(NUMBER), "How long the oldest due task has been due; null: none is due."),
    "threads": about(INTEGER, "Threads of live workers that serve the queue."),
}

_PERCENTILES = an_object(
    {f"p{percent}": about(or_null(NUMBER), f"{percent} % took no longer; null: no data.") for percent in (50, 95, 99)}
)

_TALLY = {
    "submitted": about(INTEGER, "Tasks that were submitted, or brought back by a retry or re-drive."),
    "succeeded": about(INTEGER, "Tasks that succeeded."),
    "retried": about(INTEGER, "Attempts that failed and will be retried."),
    "dead": about(INTEGER, "Tasks that died."),
    "cancelled": about(INTEGER, "Tasks that were cancelled."),
    "failure_share": about(or_null(NUMBER), "The part that was retried or died; null: nothing ended."),
    "busy_seconds": about(NUMBER, "The sum of the actors' run times."),
    "wait_seconds": about(_PERCENTILES, "From the time a task was due to its start, estimated from a histogram."),
    "run_seconds": about(_PERCENTILES, "The actors' run times, estimated from a histogram."),
}

_RECENT = {
    "minutes": about(INTEGER, "The period that was measured, up to now."),
    "attempts": {"type": "object", "additionalProperties": INTEGER, "description": "Attempts that ended, by outcome."},
    "attempts_per_second": about(NUMBER, "The average over the measured part of the period."),
    "is_capped": about(BOOLEAN, "Whether only the latest part of the period was measured: too many attempts ended."),
    "wait_seconds": about(_PERCENTILES, "From the time a task was due to its start."),
    "run_seconds": about(_PERCENTILES, "The actor's run time."),
}

SCHEMAS: Mapping[str, Schema] = {
    "Worker": an_object(_WORKER),
    "WorkerPage": page_of("Worker"),
    "WorkerDetail": an_object({**_WORKER, "running": array(ID, description="The tasks that it has claimed.")}),
    "Queue": an_object(_QUEUE),
    "Queues": an_object({"results": array(ref("Queue"), description="Sorted by name.")}),
    "Stats": an_object(
        {
            "tasks": about(an_object({str(status): INTEGER for status in Status}), "Tasks by status."),
            "capped": array(enum(Status), description="Statuses whose count stopped at a bound."),
            "recent": about(an_object(_RECENT), "Throughput and latencies of the last minutes."),
            "queues": array(ref("Queue"), description="Sorted by name."),
            "workers": array(ref("Worker"), description="Workers that are present, newest first."),
        }
    ),
    "StatsSeries": an_object(
        {
            "window": about({**TEXT, "enum": [one.label for one in Window]}, "How far back the points go."),
            "step_seconds": about(INTEGER, "The length of one point's period."),
            "points": array(
                an_object({"start": about(TIME, "The start of its period."), **_TALLY}),
                description="The oldest first, without gaps; the period of the last one is not over.",
            ),
            "total": about(an_object(_TALLY), "The sums over all points."),
        }
    ),
}
