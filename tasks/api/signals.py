"""The REST API of signals to tasks."""

from collections.abc import Mapping

from rest_framework.request import Request
from rest_framework.response import Response

from tasks import lifecycle
from tasks.api.authors import author_of
from tasks.api.parsers import read_object
from tasks.api.tasks import answer, find_task
from tasks.api.views import ApiView
from tasks.contract import fields
from tasks.contract.access import SIGNAL_TASK
from tasks.contract.journal import take_reason
from tasks.errors import InvalidTask


class TaskSignal(ApiView):
    """``POST tasks/{id}/signals/{signal}``."""

    actions = {"POST": SIGNAL_TASK}

    FIELDS: Mapping[str, fields.Reader] = {"payload": lambda value: value}

    def post(self, request: Request, task_id: str, signal: str) -> Response:
        """Give a task a signal; it is kept if the task does not wait for it yet."""
        task, body = find_task(request, task_id, SIGNAL_TASK), read_object(request, optional=True)
        by = author_of(request, take_reason(body))
        values, errors = fields.read_fields(body, self.FIELDS, refused={})
        if errors:
            raise InvalidTask(errors=errors)
        lifecycle.signal(task.pk, signal, values.get("payload"), by=by)
        return answer(request, find_task(request, task_id, SIGNAL_TASK))
