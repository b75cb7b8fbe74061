"""The worker's side: sends ``task_started`` and ``task_finished``, and gives a function its ``TaskContext``."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakKeyDictionary

from tasks import current
from tasks.django_tasks import results
from tasks.django_tasks.framework import (
    Task,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    task_finished,
    task_started,
)

if TYPE_CHECKING:
    from django.dispatch import Signal

    from tasks.worker.execution import Execution


class Observer:
    """Is told by the worker of each run of one function, before it and after it.

    A receiver of a signal that raises does no harm: the run goes on, and Django logs the error.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._results: WeakKeyDictionary[Any, TaskResult] = WeakKeyDictionary()

    def context(self) -> TaskContext:
        """Give the running function its context."""
        run = current.run()
        assert run is not None
        # It is missing if the database was away when the run was noted.
        return TaskContext(task_result=self._results.get(run) or results.stored(run.claimed.id, self.task))

    def started(self, execution: "Execution", *, worker_id: UUID) -> None:
        """Note a run that is about to start."""
        self._results[execution] = result = self._running(execution, worker_id)
        _send(task_started, result)

    def ended(self, execution: "Execution") -> None:
        """Tell that the task has finished, unless it will run again; its row is written after that."""
        result = self._results.pop(execution, None)
        if result is None:
            return
        finished_at = execution.at(execution.finished_monotonic)
        if execution.is_completed:
            # By the function itself, with a result that it may have chosen freely.
            result = results.stored(execution.claimed.id, self.task)
        elif execution.error is None:
            _set(result, status=TaskResultStatus.SUCCESSFUL, finished_at=finished_at, _return_value=execution.result)
        elif last := _last_error(execution, execution.error):
            _set(result, status=TaskResultStatus.FAILED, finished_at=finished_at, errors=[*result.errors, last])
        else:
            return
        _send(task_finished, result)

    def _running(self, execution: "Execution", worker_id: UUID) -> TaskResult:
        """Tell how the task stands; a first attempt needs no query for that."""
        claimed = execution.claimed
        if claimed.attempt > 1:
            return results.stored(claimed.id, self.task)
        return TaskResult(
            task=results.submitted(self.task, claimed),
            id=str(claimed.id),
            status=TaskResultStatus.RUNNING,
            # The id was made with the row; its first 48 bits are milliseconds since 1970.
            enqueued_at=datetime.fromtimestamp((claimed.id.int >> 80) / 1000, UTC),
            started_at=claimed.claimed_at,
            last_attempted_at=claimed.claimed_at,
            finished_at=None,
            args=claimed.args,
            kwargs=claimed.payload,
            backend=results.backend_of(claimed, self.task),
            errors=[],
            worker_ids=[str(worker_id)],
        )


def _last_error(execution: "Execution", error: BaseException) -> TaskError | None:
    """Return the error with which the task ends; None if it will run again."""
    # Not at the top: functions may be declared before Django has models.
    from tasks.worker.error_report import is_kind, report_of
    from tasks.worker.interrupter import Cancelled
    from tasks.worker.outcomes import verdict_of

    if execution.is_skipped or (is_kind(error, Cancelled) and Cancelled in execution.interrupts):
        return results.CANCELLED
    verdict = verdict_of(execution)
    if verdict is None or verdict.death is None:
        return None
    report = execution.error_report or report_of(error)
    return results.error_of(report.error_type, report.message, report.traceback)


def _set(result: TaskResult, **values: Any) -> None:
    # It is frozen for its readers; Django's own backends write it in this way too.
    for name, value in values.items():
        object.__setattr__(result, name, value)


def _send(signal: "Signal", result: TaskResult) -> None:
    signal.send_robust(sender=type(result.task.get_backend()), task_result=result)
