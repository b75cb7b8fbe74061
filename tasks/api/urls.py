"""The URLs of the API, the probes and the metrics, each with and without a trailing slash."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path

from tasks.api import (
    actors,
    batches,
    documentation,
    events,
    health,
    journal,
    metrics,
    operations,
    queues,
    schedules,
    signals,
    stats,
    tasks,
    workers,
)


def both(route: str, view: Callable[..., Any], name: str) -> list[URLPattern]:
    """Route a URL with and without a trailing slash; a redirect would lose the body of a POST."""
    return [path(route, view, name=name), path(f"{route}/", view)]


urlpatterns = [
    *both("api/v1/tasks", tasks.TaskList.as_view(), "api-tasks"),
    *both("api/v1/tasks/bulk", tasks.TaskBulk.as_view(), "api-task-bulk"),
    *both("api/v1/tasks/<str:task_id>", tasks.TaskDetail.as_view(), "api-task"),
    *both("api/v1/tasks/<str:task_id>/cancel", tasks.TaskCancel.as_view(), "api-task-cancel"),
    *both("api/v1/tasks/<str:task_id>/retry", tasks.TaskRetry.as_view(), "api-task-retry"),
    *both("api/v1/tasks/<str:task_id>/attempts", tasks.TaskAttempts.as_view(), "api-task-attempts"),
    *both("api/v1/tasks/<str:task_id>/result", tasks.TaskResult.as_view(), "api-task-result"),
    *both("api/v1/tasks/<str:task_id>/events", events.TaskEvents.as_view(), "api-task-events"),
    *both("api/v1/tasks/<str:task_id>/workflow", tasks.TaskWorkflow.as_view(), "api-task-workflow"),
    *both("api/v1/tasks/<str:task_id>/signals/<str:signal>", signals.TaskSignal.as_view(), "api-task-signal"),
    *both("api/v1/batches", batches.BatchList.as_view(), "api-batches"),
    *both("api/v1/batches/<str:batch_id>", batches.BatchDetail.as_view(), "api-batch"),
    *both("api/v1/batches/<str:batch_id>/tasks", batches.BatchTasks.as_view(), "api-batch-tasks"),
    *both("api/v1/batches/<str:batch_id>/close", batches.BatchClose.as_view(), "api-batch-close"),
    *both("api/v1/batches/<str:batch_id>/cancel", batches.BatchCancel.as_view(), "api-batch-cancel"),
    *both("api/v1/operations", operations.OperationList.as_view(), "api-operations"),
    *both("api/v1/operations/<str:operation_id>", operations.OperationDetail.as_view(), "api-operation"),
    *both(
        "api/v1/operations/<str:operation_id>/items",
        operations.OperationItems.as_view(),
        "api-operation-items",
    ),
    *both(
        "api/v1/operations/<str:operation_id>/pause",
        operations.OperationPause.as_view(),
        "api-operation-pause",
    ),
    *both(
        "api/v1/operations/<str:operation_id>/resume",
        operations.OperationResume.as_view(),
        "api-operation-resume",
    ),
    *both(
        "api/v1/operations/<str:operation_id>/cancel",
        operations.OperationCancel.as_view(),
        "api-operation-cancel",
    ),
    *both("api/v1/operations/<str:operation_id>/undo", operations.OperationUndo.as_view(), "api-operation-undo"),
    *both("api/v1/workers", workers.WorkerList.as_view(), "api-workers"),
    *both("api/v1/workers/<str:worker_id>", workers.WorkerDetail.as_view(), "api-worker"),
    *both("api/v1/queues", queues.QueueList.as_view(), "api-queues"),
    *both("api/v1/queues/<str:name>", queues.QueueDetail.as_view(), "api-queue"),
    *both("api/v1/queues/<str:name>/pause", queues.QueuePause.as_view(), "api-queue-pause"),
    *both("api/v1/queues/<str:name>/resume", queues.QueueResume.as_view(), "api-queue-resume"),
    *both("api/v1/schedules", schedules.ScheduleList.as_view(), "api-schedules"),
    *both("api/v1/schedules/<str:schedule_id>", schedules.ScheduleDetail.as_view(), "api-schedule"),
    *both("api/v1/schedules/<str:schedule_id>/pause", schedules.SchedulePause.as_view(), "api-schedule-pause"),
    *both("api/v1/schedules/<str:schedule_id>/resume", schedules.ScheduleResume.as_view(), "api-schedule-resume"),
    *both("api/v1/schedules/<str:schedule_id>/run", schedules.ScheduleRun.as_view(), "api-schedule-run"),
    *both("api/v1/schedules/<str:schedule_id>/backfill", schedules.ScheduleBackfill.as_view(), "api-schedule-backfill"),
    *both("api/v1/schedules/<str:schedule_id>/preview", schedules.SchedulePreview.as_view(), "api-schedule-preview"),
    *both("api/v1/journal", journal.JournalList.as_view(), "api-journal"),
    *both("api/v1/stats", stats.Stats.as_view(), "api-stats"),
    *both("api/v1/stats/series", stats.StatsSeries.as_view(), "api-stats-series"),
    *both("api/v1/actors", actors.ActorList.as_view(), "api-actors"),
    *both("api/schema", documentation.schema, "api-schema"),
    *both("api/docs", documentation.page, "api-docs"),
    *both("healthz", health.live, "healthz"),
    *both("readyz", health.ready, "readyz"),
    *both("health", health.health, "health"),
    *both("metrics", metrics.Metrics.as_view(), "metrics"),
]
