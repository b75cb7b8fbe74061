"""The events of a task, as a list, a list that waits for the next one, or a stream; and the answer to who waits."""

from collections.abc import Callable, Mapping
from typing import Any

from django.db import connection
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api.addresses import parameters, urls_of
from tasks.api.feeds import FedResponse, Feed, accepts_stream, as_json, as_stream, event_stream
from tasks.api.permissions import caller_of, find_row
from tasks.api.views import ApiView
from tasks.contract import fields
from tasks.contract.access import VIEW_TASK
from tasks.contract.events import Position, events_since, known_position, last_event, preferred_wait, wait_seconds
from tasks.contract.pages import DEFAULT_LIMIT, MOST_PER_PAGE
from tasks.contract.sight import Lens, sight_of
from tasks.contract.tasks import UNSEEN, task_as_dict
from tasks.contract.watching import Change, hub
from tasks.errors import TooManyWatchers, WatchersFull
from tasks.models import Task
from tasks.queries.happenings import happenings

#: Parts of a request that may say that the client is ready to wait; most submissions have none of them.
WAITS = ("QUERY_STRING", "HTTP_PREFER")

_JSON = "application/json"


class TaskEvents(ApiView):
    """``GET tasks/{id}/events``."""

    actions = {"GET": VIEW_TASK}

    def get(self, request: Request, task_id: str) -> HttpResponseBase:
        """List what has happened to a task and how it stands, oldest first; wait for the next event, or stream them.

        With ``wait``, an answer without events comes when there is one, or when the time is over. With ``Accept:
        text/event-stream`` the answer is a stream of server-sent events, which ends with the task. A client comes back
        with the ``id`` of the last event that it has, as ``cursor`` or ``Last-Event-ID``, and gets what it does not
        know. A status or progress that lasted for moments only may be left out.
        """
        task = find_row(request, Task.objects.defer(*UNSEEN), task_id, VIEW_TASK, view=VIEW_TASK, kind="task")
        asked = _read(request, task)
        position, limit = asked.get("cursor"), asked.get("limit", DEFAULT_LIMIT)
        is_stream, caller = accepts_stream(request.META.get("HTTP_ACCEPT", "")), caller_of(request)
        events, is_all, is_final = _events(request, task, position)
        is_head = request.method == "HEAD"
        if is_stream and not is_head:
            if is_final and not events and position is not None:
                # The one answer after which a browser does not come back.
                return Response(status=204)
            watch = hub.watch(task, position, caller=caller, write=lambda change: as_stream(change.events))
            return event_stream(request, watch)
        seconds = asked.get("wait", 0)
        if events or is_final or not seconds or is_head:
            return Response(_page(request, events, limit, is_all=is_all))

        def write(change: Change) -> bytes:
            return as_json(_page(request, change.events, limit, is_all=True))

        feed = Feed(hub.watch(task, position, caller=caller, seconds=seconds, write=write))
        return FedResponse(request, feed, content_type=_JSON, headers={})


def _read(request: Request, task: Task) -> dict[str, Any]:
    def cursor(text: str) -> Position:
        return known_position(text, task)

    readers: Mapping[str, fields.Reader] = {
        "limit": fields.digits(1, MOST_PER_PAGE), "cursor": cursor, "wait": wait_seconds
    }  # fmt: skip
    asked = fields.read_parameters(parameters(request), readers)
    if (header := request.META.get("HTTP_LAST_EVENT_ID")) is not None:
        asked["cursor"] = last_event(header, task, field="Last-Event-ID")
    return asked


def _events(request: Request, task: Task, position: Position | None) -> tuple[list[dict[str, Any]], bool, bool]:
    """Read what a client does not know; tell whether that is all, and whether anything can follow."""
    found = happenings({task.pk: (position or Position()).since}).get(task.pk)
    if found is None:
        # It was removed since it was found.
        return [], True, True
    lens = Lens(sight_of(caller_of(request))(found.task.owner_id), found.task)
    events = [told.event for told in events_since(position, found, lens=lens)]
    return events, found.is_all, found.is_all and found.task.is_final


def _page(request: Request, events: list[dict[str, Any]], limit: int, *, is_all: bool) -> dict[str, Any]:
    results = events[:limit]
    is_last = is_all and len(events) == len(results)
    return {"results": results, "next": None if is_last else _address(request, results[-1]["id"]), "previous": None}


def _address(request: Request, cursor: str) -> str:
    query = request._request.GET.copy()
    query["cursor"] = cursor
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


def when_ended(request: Request, submit: Callable[[Request], Response]) -> HttpResponseBase:
    """Answer a submission when its task has ended, or the time is over that the client is ready to wait.

    The head of the answer goes out at once. There is no wait if too many wait already: the task is accepted, and an
    error would say that it is not.

    Raises:
        InvalidQuery: the parameter ``wait`` is not valid; nothing was submitted.
    """
    seconds = _wait(request)
    accepted = submit(request)
    task = Task.objects.defer(*UNSEEN).filter(pk=accepted.data["id"]).first() if seconds else None
    # In a transaction of the project's (ATOMIC_REQUESTS) nobody else sees the task yet, nor would a worker.
    if task is None or task.is_final or connection.in_atomic_block:
        return accepted
    caller, url, outcome = caller_of(request), urls_of(request, "api-tasks"), accepted.data["unique"]
    sees = sight_of(caller)
    # This looks up the permissions and keeps them: the hub's thread asks for none.
    sees(task.owner_id)

    def write(change: Change) -> bytes | None:
        if change.end is None:
            return None
        now = change.task or task
        now.submitted_as = outcome["outcome"] if outcome else ""
        return as_json(task_as_dict(now, url=url, sees=sees))

    try:
        watch = hub.watch(task, None, caller=caller, seconds=seconds, write=write)
    except (TooManyWatchers, WatchersFull):
        return accepted
    feed = Feed(watch, otherwise=as_json(accepted.data))
    headers = {**accepted.headers, "Preference-Applied": f"wait={seconds}"}
    del headers["Content-Type"]
    return FedResponse(request, feed, content_type=_JSON, status=accepted.status_code, headers=headers)


def _wait(request: Request) -> int:
    """Read ``wait`` from the query, else from ``Prefer``."""
    given = {name: values for name, values in parameters(request).items() if name == "wait"}
    asked = fields.read_parameters(given, {"wait": wait_seconds})
    return int(asked["wait"]) if asked else preferred_wait(request.META.get("HTTP_PREFER", "")) or 0
