"""Dramatiq's ``message.get_result()``, also that of groups and pipelines, read from the tasks' rows."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import dramatiq
from dramatiq.results import Missing, ResultBackend
from dramatiq.results.errors import ResultFailure

from tasks.states import Status


class TaskResults(ResultBackend):
    """Reads the results that lifecycle wrote; stores nothing.

    ``get_result`` raises what it raises with every backend of Dramatiq: ``ResultMissing`` if the task has not ended,
    or its ``result_ttl`` has; ``ResultTimeout`` if it did not end in time; ``ResultFailure`` if it died or was
    cancelled.
    """

    def build_message_key(self, message: Any) -> str:
        """Return the message's id, with which ``_get`` is called."""
        return str(message.message_id)

    def _get(self, message_key: str) -> Any:
        # Not at the top: django-dramatiq builds the broker before Django has models.
        from django.db.models import Q
        from django.utils import timezone

        from tasks.models import Task

        condition = Q(message_id=message_key)
        if (id := _as_uuid(message_key)) is not None:
            condition |= Q(pk=id)
        # The newest: a message can be sent again.
        row = Task.objects.filter(condition).order_by("-pk").first()
        if row is None or row.finished_at is None:
            return Missing
        ttl = _ttl(row)
        if ttl is not None and timezone.now() - row.finished_at > timedelta(milliseconds=ttl):
            return Missing
        if row.status == Status.SUCCEEDED:
            return row.result
        raise failure_of(row.status, row.error)

    def unwrap_result(self, res: Any) -> Any:
        """Return the result as it is: a row holds plain results."""
        return res

    def store_result(self, message: Any, result: Any, ttl: int) -> None:
        """Do nothing: the completer stores it."""

    def store_exception(self, message: Any, exception: BaseException, ttl: int) -> None:
        """Do nothing: the completer stores it."""


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _ttl(task: Any) -> float | None:
    """Read ``result_ttl``, in milliseconds, from the message, then from the actor; None if neither has one."""
    actor = dramatiq.get_broker().actors.get(task.actor)
    ttl = task.options.get("result_ttl", actor.options.get("result_ttl") if actor else None)
    return float(ttl) if isinstance(ttl, int | float) else None


def failure_of(status: str, error: str) -> ResultFailure:
    """Describe a task that has ended without success as Dramatiq does."""
    if status == Status.DEAD and error:
        kind, _, message = error.partition(": ")
        return ResultFailure(f"actor raised {error}", kind, message)  # type: ignore[no-untyped-call]
    return ResultFailure(f"the task is {status}: {error}".removesuffix(": "), status, error)  # type: ignore[no-untyped-call]
