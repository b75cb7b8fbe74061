"""The REST API of queues: read, pause, resume."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api.addresses import parameters
from tasks.api.authors import author_of, read_author
from tasks.api.parsers import read_object
from tasks.api.permissions import caller_of
from tasks.api.views import ApiView
from tasks.contract import fields, journal
from tasks.contract.access import PAUSE_QUEUE, VIEW_QUEUE
from tasks.contract.queues import find_queue, queue_as_dict
from tasks.errors import FieldError, InvalidTask
from tasks.lifecycle import queues
from tasks.queries.queue_stats import all_queue_stats


class QueueList(ApiView):
    """``GET queues``."""

    actions = {"GET": VIEW_QUEUE}

    def get(self, request: Request) -> Response:
        """List queues by name, with the number of waiting tasks and the longest wait."""
        fields.read_parameters(parameters(request), {})
        return Response({"results": [queue_as_dict(stats) for stats in all_queue_stats()]})


class QueueDetail(ApiView):
    """``GET`` and ``PATCH queues/{name}``."""

    actions = {"GET": VIEW_QUEUE, "PATCH": PAUSE_QUEUE}

    FIELDS: ClassVar[Mapping[str, fields.Reader]] = {"paused": fields.boolean, "reason": journal.reason}

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any]:
        """Suggest to pause or resume, whichever is possible."""
        return {"paused": answer.get("paused_at") is None}

    def get(self, request: Request, name: str) -> Response:
        """Read one queue."""
        return _answer(name)

    def patch(self, request: Request, name: str) -> Response:
        """Change a queue: set ``paused`` to true or false."""
        _check(request, name)
        values, errors = fields.read_fields(read_object(request), self.FIELDS, refused={})
        if not errors and "paused" not in values:
            errors = [FieldError("paused", "required", "expected true or false")]
        if errors:
            raise InvalidTask("the change is not valid", errors=errors)
        verb = queues.pause if values["paused"] else queues.resume
        verb(name, by=author_of(request, values.get("reason", "")))
        return _answer(name)


class QueuePause(ApiView):
    """``POST queues/{name}/pause``."""

    actions = {"POST": PAUSE_QUEUE}

    def post(self, request: Request, name: str) -> Response:
        """Pause a queue: dispatch none of its tasks, and take back those that no worker has claimed."""
        _check(request, name)
        queues.pause(name, by=read_author(request))
        return _answer(name)


class QueueResume(ApiView):
    """``POST queues/{name}/resume``."""

    actions = {"POST": PAUSE_QUEUE}

    def post(self, request: Request, name: str) -> Response:
        """Resume a queue: dispatch its tasks again, at once."""
        _check(request, name)
        queues.resume(name, by=read_author(request))
        return _answer(name)


def _check(request: Request, name: str) -> None:
    find_queue(name)
    caller_of(request).require_reach(queue=name)


def _answer(name: str) -> Response:
    return Response(queue_as_dict(find_queue(name)))
