"""The REST API of tasks and actors: each view validates, calls one verb and answers."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.conf import settings
from django.db.models import Model, QuerySet
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import IsAdminUser, IsAuthenticated
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks import lifecycle, registry
from tasks.api import fields, serializers
from tasks.api.browsable_page import Page
from tasks.api.examples import EXAMPLES
from tasks.api.filters import TASK_FILTERS, filtered
from tasks.api.idempotency import take_key
from tasks.api.limits import SubmissionLimit
from tasks.api.pagination import Order, page
from tasks.api.parsers import read_object
from tasks.api.preconditions import etag, expected_version
from tasks.api.reach import InScope, reach_of
from tasks.db import call_timeout
from tasks.errors import InvalidQuery, InvalidTask, NotFound
from tasks.lifecycle import Receipt
from tasks.models import Task, TaskQuerySet
from tasks.queries.forecast import Forecast, expected_start
from tasks.states import Scope

Row = TypeVar("Row", bound=Model)

_BY_NUMBER = Order("number", False, lambda attempt: attempt.number, int)
_BY_SERIAL = Order("id", False, lambda event: event.pk, int)


class Unread(BaseParser):
    """Leaves the body to ``read_object``.

    REST framework's own parsers read without a limit, and as early as in the CSRF check of a session.
    """

    #: What the page of an answer suggests for a body.
    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:
        """Read nothing."""
        return {}


class JsonUnlessBrowsed(BaseContentNegotiation):
    """Answers JSON whatever ``Accept`` says, as browsers and probes send anything; pages to staff who is logged in."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser:
        """Choose the one there is."""
        return parsers[0]  # type: ignore[no-any-return]

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Choose the page for a browser with a session of staff, whose token would be no browser's."""
        is_browser = request.META.get("HTTP_ACCEPT", "").startswith("text/html")
        if is_browser and "HTTP_AUTHORIZATION" not in request.META and request._request.user.is_staff:
            return renderers[-1], renderers[-1].media_type
        return renderers[0], renderers[0].media_type


class ApiView(APIView):
    """What all views of the API share."""

    permission_classes: Sequence[Any] = (IsAuthenticated, InScope)
    #: What a method needs, where it is not "read" or "operate".
    scopes: ClassVar[Mapping[str, Scope]] = {}
    parser_classes = (Unread,)
    renderer_classes = (JSONRenderer, Page)
    content_negotiation_class = JsonUnlessBrowsed

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer; with a 503 if the database is silent for too long, which psycopg2 would wait for without limit."""
        with call_timeout.bounded(settings.REQUEST_DATABASE_SECONDS):
            return super().dispatch(request, *args, **kwargs)

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any] | None:
        """Suggest what the page of an answer has in its form for a method; None if that needs no body."""
        return None

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep answers out of caches: a task moves on without its ETag, which only edits change."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers["Cache-Control"] = "no-store"
        return response


class IsStaff(IsAdminUser):
    """Lets staff in, and tells others whom it is for."""

    message = "this is for staff: it is about the whole installation, not about tasks of yours"


class StaffView(ApiView):
    """What is about the whole installation: hosts, workers, everybody's load."""

    permission_classes = (IsStaff, InScope)


def read_id(text: str) -> UUID:
    """Read an id of an address.

    Raises:
        InvalidQuery: it is no UUID.
    """
    try:
        return fields.identifier(text)
    except fields.Unfit as error:
        raise InvalidQuery(errors=[fields.field_error("id", error)]) from error


def find(rows: QuerySet[Row], text: str, *, kind: str) -> Row:
    """Find the row of an address among those that the caller may see.

    Raises:
        NotFound: there is none, or it is somebody else's: the two look the same.
    """
    row_id = read_id(text)
    row = rows.filter(pk=row_id).first()
    if row is None:
        raise NotFound(f"there is no {kind} {row_id}")
    return row


def find_task(request: Request, text: str) -> Task:
    """Find the task of an address, see ``find``."""
    return find(_visible_tasks(request), text, kind="task")


def _visible_tasks(request: Request) -> TaskQuerySet:
    return reach_of(request).narrow(Task.objects.visible_to(request.user)).defer(*serializers.UNSEEN)


class TaskList(ApiView):
    """``GET tasks`` lists, ``POST tasks`` submits one."""

    scopes: ClassVar[Mapping[str, Scope]] = {"POST": Scope.SUBMIT}

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any]:
        """Suggest the first example."""
        return EXAMPLES["submitTask"]["Run at once"]

    def get(self, request: Request) -> Response:
        """List tasks, newest first."""
        rows = filtered(_visible_tasks(request), request.GET, TASK_FILTERS)
        url = serializers.task_urls(request._request)
        return Response(page(request._request, rows, shape=lambda task: serializers.task_as_dict(task, url=url)))

    def post(self, request: Request) -> Response:
        """Submit one task."""
        body, limit, url = read_object(request), SubmissionLimit(request), serializers.task_urls(request._request)
        key = take_key(request, body)
        submission = serializers.read_submission(body, owner_id=request.user.pk, reach=reach_of(request))
        if key is None:
            answer = serializers.task_as_dict(lifecycle.submit(submission, admit=limit), url=url)
            return Response(answer, status=201, headers={"Location": answer["url"], **limit.headers})
        receipt = lifecycle.submit_once(submission, key=key, admit=limit)
        (answer,) = serializers.receipt_as_list(receipt, url=url)
        return _receipt(receipt, answer, headers={"Location": answer["url"], **limit.headers})


class TaskBulk(ApiView):
    """``POST tasks/bulk`` submits many tasks in one transaction, all or none."""

    scopes: ClassVar[Mapping[str, Scope]] = {"POST": Scope.SUBMIT}

    FIELDS: ClassVar[dict[str, fields.Reader]] = {"tasks": lambda value: value}

    def post(self, request: Request) -> Response:
        """Submit them; the answer has the same order."""
        body, limit, url = read_object(request), SubmissionLimit(request), serializers.task_urls(request._request)
        key = take_key(request, body)
        values, errors = fields.read_fields(body, self.FIELDS, refused={})
        if errors:
            raise InvalidTask(errors=errors)
        submissions = serializers.read_submissions(
            values.get("tasks"), owner_id=request.user.pk, reach=reach_of(request)
        )
        if key is None:
            tasks = lifecycle.submit_many(submissions, admit=limit)
            answers = [serializers.task_as_dict(task, url=url) for task in tasks]
            return Response({"tasks": answers}, status=201, headers=limit.headers)
        receipt = lifecycle.submit_many_once(submissions, key=key, admit=limit)
        return _receipt(receipt, {"tasks": serializers.receipt_as_list(receipt, url=url)}, headers=limit.headers)


class TaskDetail(ApiView):
    """``GET``, ``PUT``, ``PATCH`` and ``DELETE tasks/{id}``."""

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any] | None:
        """Suggest what there is."""
        return {name: answer[name] for name in serializers.EDITABLE_FIELDS if name in answer} or None

    def get(self, request: Request, task_id: str) -> Response:
        """Read one task."""
        task = find_task(request, task_id)
        return _answer(request, task, forecast=expected_start(task))

    def patch(self, request: Request, task_id: str) -> Response:
        """Change some of what can be changed while a task waits."""
        task = find_task(request, task_id)
        change = serializers.read_change(read_object(request))
        if not change:
            raise InvalidTask(f"expected at least one of {', '.join(serializers.EDITABLE_FIELDS)}")
        return self._edit(request, task, change)

    def put(self, request: Request, task_id: str) -> Response:
        """Replace all that can be changed; what is left out becomes as if it had not been given at first."""
        task = find_task(request, task_id)
        change = serializers.read_change(read_object(request))
        return self._edit(request, task, serializers.as_submitted(task.actor) | change)

    def delete(self, request: Request, task_id: str) -> Response:
        """Remove a task that does not run; its dead letters and events stay."""
        task = find_task(request, task_id)
        read_nothing(request)
        lifecycle.delete(task.pk, by=request.user.get_username(), version=expected_version(request, task))
        return Response(status=204)

    def _edit(self, request: Request, task: Task, change: dict[str, Any]) -> Response:
        version = expected_version(request, task)
        reach_of(request).check(queue=change.get("queue"))
        lifecycle.edit(task.pk, change, by=request.user.get_username(), version=version)
        return _answer(request, find_task(request, str(task.pk)))


class TaskCancel(ApiView):
    """``POST tasks/{id}/cancel``."""

    def post(self, request: Request, task_id: str) -> Response:
        """Cancel what waits; ask what runs to stop."""
        task = find_task(request, task_id)
        read_nothing(request)
        lifecycle.cancel(task.pk, by=request.user.get_username())
        return _answer(request, find_task(request, task_id))


class TaskRetry(ApiView):
    """``POST tasks/{id}/retry``."""

    def post(self, request: Request, task_id: str) -> Response:
        """Run again what died, was cancelled, or waits for its next attempt."""
        task = find_task(request, task_id)
        read_nothing(request)
        lifecycle.retry(task.pk, by=request.user.get_username())
        return _answer(request, find_task(request, task_id))


class TaskAttempts(ApiView):
    """``GET tasks/{id}/attempts``."""

    def get(self, request: Request, task_id: str) -> Response:
        """List a task's attempts that have ended, the first one first."""
        rows = filtered(find_task(request, task_id).attempts.all(), request.GET, {})
        return Response(page(request._request, rows, shape=serializers.attempt_as_dict, order=_BY_NUMBER))


class TaskResult(ApiView):
    """``GET tasks/{id}/result``."""

    def get(self, request: Request, task_id: str) -> Response:
        """Read what came of a task; ``result`` is null until it has SUCCEEDED."""
        return Response(serializers.result_as_dict(find_task(request, task_id)))


class TaskEvents(ApiView):
    """``GET tasks/{id}/events``."""

    def get(self, request: Request, task_id: str) -> Response:
        """List what people and repairs did to a task, the first thing first."""
        rows = filtered(find_task(request, task_id).events.all(), request.GET, {})
        return Response(page(request._request, rows, shape=serializers.event_as_dict, order=_BY_SERIAL))


class ActorList(ApiView):
    """``GET actors``."""

    def get(self, request: Request) -> Response:
        """List what can be submitted, by name."""
        fields.read_parameters(request.GET, {})
        names = reach_of(request).actors
        specs = [spec for spec in registry.all_specs() if spec.is_open_to_api and (not names or spec.name in names)]
        return Response({"results": [serializers.actor_as_dict(spec) for spec in specs]})


def read_nothing(request: Request) -> None:
    """Read the body of a verb that takes no fields; it may be left out.

    Raises:
        InvalidTask: it has fields.
    """
    _, errors = fields.read_fields(read_object(request, optional=True), {}, refused={})
    if errors:
        raise InvalidTask("this call takes no fields", errors=errors)


def _answer(request: Request, task: Task, *, forecast: Forecast | None = None) -> Response:
    content = serializers.task_as_dict(task, url=serializers.task_urls(request._request), forecast=forecast)
    return Response(content, headers={"ETag": etag(task)})


def _receipt(receipt: Receipt, content: dict[str, Any], *, headers: dict[str, str]) -> Response:
    if receipt.is_replayed:
        return Response(content, headers={**headers, "Idempotency-Replayed": "true"})
    return Response(content, status=201, headers=headers)
