"""The backend: ``TASKS = {"default": {"BACKEND": "tasks.django_tasks.CallboardBackend"}}``."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import dramatiq
from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Caution
from django.utils.module_loading import import_string

from tasks import errors
from tasks.conf import conf
from tasks.django_tasks import actors, results
from tasks.django_tasks.framework import (
    BaseTaskBackend,
    InvalidTask,
    InvalidTaskBackend,
    Task,
    TaskResult,
    TaskResultDoesNotExist,
    normalize_json,
    task_enqueued,
)
from tasks.priority import from_django_priority
from tasks.submission import Submission
from tasks.telemetry import trace


class CallboardBackend(BaseTaskBackend):
    """Runs ``@task`` functions as Callboard's tasks: rows that commit with the caller's transaction.

    ``OPTIONS`` are options of ``@dramatiq.actor`` for every function that is declared with this backend; those of
    ``actor_options`` take precedence. ``QUEUES`` are declared, so that workers serve them. ``[]`` allows every queue
    that some function or actor declares.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        for queue in sorted(self.queues):
            try:
                dramatiq.get_broker().declare_queue(queue)
            except ValueError as error:
                raise InvalidTaskBackend(f"QUEUES of the backend {alias!r}: {error}") from error

    def validate_task(self, task: Task) -> None:
        """Refuse a task that cannot run here, and declare the actor of its function.

        Raises:
            InvalidTask: says why.
        """
        super().validate_task(task)
        actors.declare(task, self.options)

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:  # type: ignore[override]
        """Write a row in the caller's transaction; the task runs once that commits.

        Raises:
            InvalidTask: the task is not valid, or its function does not take these arguments.
            TypeError: an argument is not JSON.
        """
        # Not at the top: functions may be declared before Django has models.
        from tasks import lifecycle

        self.validate_task(task)
        given: Any = normalize_json({"args": args, "kwargs": kwargs})
        submission = Submission(
            actor=task.module_path,
            args=given["args"],
            payload=given["kwargs"],
            options=results.remembered(task),
            priority=from_django_priority(int(task.priority), default=conf.DEFAULT_PRIORITY),
            queue=task.queue_name,
            run_at=task.run_after,
            trace_id=trace.current(),
        )
        try:
            row = lifecycle.submit(submission)
        except errors.InvalidTask as error:
            raise InvalidTask(str(error)) from error
        result = results.of_row(row, task)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """Look up a task by its id, also one that was enqueued elsewhere or submitted by another door.

        Raises:
            TaskResultDoesNotExist: there is no such task, or no ``@task`` function runs it.
        """
        from tasks.models import Task as Row

        try:
            row = Row.objects.get(pk=UUID(str(result_id)))
        except (ValueError, Row.DoesNotExist) as error:
            raise TaskResultDoesNotExist(result_id) from error
        if results.OPTION in row.options:
            # Its module may not be imported yet; that declares the function.
            with suppress(ImportError):
                import_string(row.actor)
        task = actors.declared(row.actor)
        if task is None:
            raise TaskResultDoesNotExist(f"{result_id}: no task function is declared as {row.actor}")
        return results.of_row(row, task)

    def check(self, **_: Any) -> list[CheckMessage]:
        """Check that workers can find the functions."""
        if not apps.is_installed("tasks"):
            return [
                Error(
                    f"The backend {self.alias!r} stores tasks in the tables of an app that is not installed.",
                    hint='Add "tasks.apps.TasksConfig" to INSTALLED_APPS.',
                    id="callboard.E008",
                )
            ]
        return [
            Caution(
                f"Workers may not know the task function {name}: django.setup() does not import its module.",
                hint="Declare it in tasks.py or actors.py of an installed app, or add the name of its module to "
                "DRAMATIQ_AUTODISCOVER_MODULES.",
                id="callboard.W005",
            )
            for name in actors.declared_late(self.alias)
        ]
