"""The REST API of queues: how they stand, pause and resume, for staff."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api import fields
from tasks.api.parsers import read_object
from tasks.api.reach import reach_of
from tasks.api.serializers import timestamp
from tasks.api.views import StaffView, read_nothing
from tasks.errors import FieldError, InvalidTask, NotFound
from tasks.lifecycle import queues
from tasks.queries.queue_stats import Standing, queue_standings


class QueueList(StaffView):
    """``GET queues``."""

    def get(self, request: Request) -> Response:
        """List queues by name, with what waits and for how long."""
        fields.read_parameters(request.GET, {})
        return Response({"results": [queue_as_dict(standing) for standing in queue_standings()]})


class QueueDetail(StaffView):
    """``GET`` and ``PATCH queues/{name}``."""

    FIELDS: ClassVar[Mapping[str, fields.Reader]] = {"paused": fields.flag}

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any]:
        """Suggest the other of the two."""
        return {"paused": answer.get("paused_at") is None}

    def get(self, request: Request, name: str) -> Response:
        """Read one queue."""
        return _answer(name)

    def patch(self, request: Request, name: str) -> Response:
        """Change a queue: ``paused`` true or false."""
        _check(request, name)
        values, errors = fields.read_fields(read_object(request), self.FIELDS, refused={})
        if not errors and not values:
            errors = [FieldError("paused", "required", "expected true or false")]
        if errors:
            raise InvalidTask("the queue cannot be changed like that", errors=errors)
        verb = queues.pause if values["paused"] else queues.resume
        verb(name, by=request.user.get_username())
        return _answer(name)


class QueuePause(StaffView):
    """``POST queues/{name}/pause``."""

    def post(self, request: Request, name: str) -> Response:
        """Hand over nothing more of the queue, and take back what no worker has claimed."""
        _check(request, name)
        read_nothing(request)
        queues.pause(name, by=request.user.get_username())
        return _answer(name)


class QueueResume(StaffView):
    """``POST queues/{name}/resume``."""

    def post(self, request: Request, name: str) -> Response:
        """Hand over the queue's tasks again, at once."""
        _check(request, name)
        read_nothing(request)
        queues.resume(name, by=request.user.get_username())
        return _answer(name)


def queue_as_dict(standing: Standing) -> dict[str, Any]:
    """Give a queue's standing its shape on the wire."""
    return {
        "name": standing.name,
        "paused_at": timestamp(standing.paused_at),
        "waiting": standing.waiting.number,
        "waiting_is_capped": standing.waiting.is_capped,
        "queued": standing.queued,
        "running": standing.running,
        "oldest_due_seconds": standing.oldest_due_seconds,
        "threads": standing.threads,
    }


def _standing(name: str) -> Standing:
    for standing in queue_standings():
        if standing.name == name:
            return standing
    raise NotFound(f"there is no queue {fields.shown(name)}")


def _check(request: Request, name: str) -> None:
    _standing(name)
    reach_of(request).check(queue=name)


def _answer(name: str) -> Response:
    return Response(queue_as_dict(_standing(name)))
