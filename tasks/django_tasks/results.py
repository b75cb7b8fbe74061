"""A task's row and its attempts as the framework's ``TaskResult``."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from dramatiq.middleware import TimeLimitExceeded

from tasks.conf import conf
from tasks.django_tasks.framework import (
    InvalidTask,
    InvalidTaskBackend,
    Task,
    TaskError,
    TaskResult,
    TaskResultStatus,
)
from tasks.priority import from_django_priority, to_django_priority
from tasks.states import AttemptOutcome, Status

if TYPE_CHECKING:
    from tasks.models import Attempt
    from tasks.models import Task as Row

#: The key in a row's ``options`` under which the backend keeps what the row has no column for.
OPTION = "django_task"


class TaskCancelled(Exception):
    """The task was cancelled."""


class TaskExpired(Exception):
    """The task was too old to start."""


class WorkerLost(Exception):
    """The worker died or fell silent during the attempt."""


class UnsupportedResult(TypeError):
    """The function returned something that is not JSON."""


class Submitted(Protocol):
    """What a row and a claimed task have in common."""

    @property
    def options(self) -> dict[str, Any]:
        """Dramatiq's message options, and the backend's own."""

    @property
    def priority(self) -> int:
        """1 to 10."""

    @property
    def queue(self) -> str:
        """The queue."""


_STATUS = {
    Status.RUNNING: TaskResultStatus.RUNNING,
    Status.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    Status.DEAD: TaskResultStatus.FAILED,
    Status.CANCELLED: TaskResultStatus.FAILED,
}
#: Outcomes of attempts that are errors. A snooze, a shutdown and a cancel are none.
_ERRORS = (AttemptOutcome.FAILED, AttemptOutcome.TIMED_OUT, AttemptOutcome.CRASHED, AttemptOutcome.LOST)
#: The class of an error that no function raised, so that it has no traceback.
_RAISED_BY_NOBODY = {
    AttemptOutcome.TIMED_OUT: TimeLimitExceeded,
    AttemptOutcome.CRASHED: WorkerLost,
    AttemptOutcome.LOST: WorkerLost,
}


def remembered(task: Task) -> dict[str, Any]:
    """Give the option that lets ``submitted`` restore a task as it was enqueued."""
    kept: dict[str, Any] = {"backend": task.backend, "priority": int(task.priority)}
    if task.run_after is not None:
        kept["run_after"] = task.run_after.isoformat()
    return {OPTION: kept}


def backend_of(row: Submitted, task: Task) -> str:
    """Name the backend that a task was enqueued with; the function's own if it came by another door."""
    return str(row.options.get(OPTION, {}).get("backend", task.backend))


def submitted(task: Task, row: Submitted) -> Task:
    """Restore a task as it was enqueued, with what was edited since."""
    kept = row.options.get(OPTION, {})
    priority, default = kept.get("priority", 0), conf.DEFAULT_PRIORITY
    if from_django_priority(priority, default=default) != row.priority:
        priority = to_django_priority(row.priority, default=default)
    run_after = datetime.fromisoformat(kept["run_after"]) if "run_after" in kept else None
    wanted = {"priority": priority, "queue_name": row.queue, "run_after": run_after, "backend": backend_of(row, task)}
    changed = {name: value for name, value in wanted.items() if value != getattr(task, name)}
    try:
        return task.using(**changed) if changed else task
    except (InvalidTask, InvalidTaskBackend):
        # The settings know the queue or the backend no more, or an operator has chosen a queue of his own.
        return task


def stored(task_id: UUID, task: Task) -> TaskResult:
    """Read the result of a task of this function."""
    # Not at the top: functions may be declared before Django has models.
    from tasks.models import Task as Row

    return of_row(Row.objects.get(pk=task_id), task)


def of_row(row: "Row", task: Task) -> TaskResult:
    """Tell how a task stands; its attempts take one more query, if there were any."""
    attempts = list(row.attempts.all()) if row.attempt else []
    started = [one.started_at for one in attempts if one.started_at] + [row.started_at] * (row.started_at is not None)
    result = TaskResult(
        task=submitted(task, row),
        id=str(row.pk),
        status=_STATUS.get(Status(row.status), TaskResultStatus.READY),
        enqueued_at=row.created_at,
        started_at=started[0] if started else None,
        last_attempted_at=started[-1] if started else None,
        finished_at=row.finished_at,
        args=row.args,
        kwargs=row.payload,
        backend=backend_of(row, task),
        errors=_errors(row, attempts),
        worker_ids=[str(one.worker_id) for one in attempts] + [str(row.worker_id)] * (row.worker_id is not None),
    )
    object.__setattr__(result, "_return_value", row.result)
    return result


# --- Errors ----------------------------------------------------------------------------------------------------------


def _errors(row: "Row", attempts: Sequence["Attempt"]) -> list[TaskError]:
    errors = [_of_attempt(one) for one in attempts if one.outcome in _ERRORS]
    if row.status == Status.CANCELLED:
        errors.append(CANCELLED)
    elif row.status == Status.DEAD and not (attempts and row.error == _text(attempts[-1])):
        errors.append(_error(TaskExpired, row.error))
    return errors


def _of_attempt(attempt: "Attempt") -> TaskError:
    if not attempt.traceback and (kind := _RAISED_BY_NOBODY.get(AttemptOutcome(attempt.outcome))):
        return _error(kind, _text(attempt))
    return error_of(attempt.error_type, attempt.error_message, attempt.traceback)


def _text(attempt: "Attempt") -> str:
    return f"{attempt.error_type}: {attempt.error_message}"


def _error(kind: type[BaseException], text: str) -> TaskError:
    return TaskError(exception_class_path=f"{kind.__module__}.{kind.__qualname__}", traceback=text)


#: The last error of a task that was cancelled: the framework has no status for it.
CANCELLED = _error(TaskCancelled, "TaskCancelled: the task was cancelled")


def error_of(error_type: str, message: str, traceback: str) -> TaskError:
    """Make the framework's error of an error report."""
    return TaskError(exception_class_path=_path(error_type, message, traceback), traceback=traceback or error_type)


def _path(error_type: str, message: str, traceback: str) -> str:
    """Read the path of an exception's class from the end of its traceback, where Python writes it.

    A class of ``builtins`` is written without its module, and a group behind a bar.
    """
    named = rf"^(?: *\| )?((?:\w+\.)*{re.escape(error_type)})"
    exact = named + (rf": {re.escape(message)}$" if message else "$")
    # The whole message first, because a line of it may look like the end of a traceback.
    found = re.findall(exact, traceback, re.MULTILINE) or re.findall(rf"{named}(?::|$)", traceback, re.MULTILINE)
    path = found[-1] if found else error_type
    return path if "." in path else f"builtins.{path}"
