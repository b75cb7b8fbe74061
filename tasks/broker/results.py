"""Dramatiq's ``message.get_result()``, read from the task's row."""

from typing import Any
from uuid import UUID

from dramatiq.results import Missing, ResultBackend
from dramatiq.results.errors import ResultFailure

from tasks.errors import NotSupported
from tasks.states import FINAL, Status


class TaskResults(ResultBackend):
    """Reads the results that lifecycle wrote; stores nothing."""

    def get_result(self, message: Any, *, block: bool = False, timeout: int | None = None) -> Any:
        """Return the task's result.

        Raises:
            ResultMissing: the task has not ended.
            ResultFailure: the task died or was cancelled.
            ResultTimeout: the task had not ended after ``timeout`` milliseconds.
            NotSupported: the message is not a task's; groups and pipelines keep such messages.
        """
        if _task_id(message) is None:
            raise NotSupported(
                "results are read from the message that send() returned; groups and pipelines keep another"
            )
        return super().get_result(message, block=block, timeout=timeout)

    def build_message_key(self, message: Any) -> str:
        """Return the task's id, with which ``_get`` is called."""
        return str(message.message_id)

    def _get(self, message_key: str) -> Any:
        # Not at the top: django-dramatiq builds the broker before Django has models.
        from tasks.models import Task

        row = Task.objects.filter(pk=message_key).values_list("status", "result", "error").first()
        if row is None or row[0] not in FINAL:
            return Missing
        status, result, error = row
        if status == Status.SUCCEEDED:
            return result
        raise ResultFailure(  # type: ignore[no-untyped-call]
            f"the task is {status}: {error}", status, error
        )

    def unwrap_result(self, res: Any) -> Any:
        """Return the result as it is: a row holds plain results."""
        return res

    def store_result(self, message: Any, result: Any, ttl: int) -> None:
        """Do nothing: the completer stores it."""

    def store_exception(self, message: Any, exception: BaseException, ttl: int) -> None:
        """Do nothing: the completer stores it."""


def _task_id(message: Any) -> UUID | None:
    try:
        id = UUID(message.message_id)
    except ValueError:
        return None
    return id if id.version == 7 else None
