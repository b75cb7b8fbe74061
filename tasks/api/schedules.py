"""The REST API of schedules: each view validates, calls one verb and writes the answer."""

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api.addresses import page_as_dict, parameters, urls_of
from tasks.api.authors import author_of, read_author
from tasks.api.examples import EXAMPLES
from tasks.api.parsers import read_object
from tasks.api.permissions import caller_of
from tasks.api.preconditions import version_in
from tasks.api.views import ApiView
from tasks.contract import fields
from tasks.contract.access import (
    ADD_SCHEDULE,
    CHANGE_SCHEDULE,
    DELETE_SCHEDULE,
    PAUSE_SCHEDULE,
    RUN_SCHEDULE,
    VIEW_SCHEDULE,
)
from tasks.contract.filters import filtered
from tasks.contract.journal import take_reason
from tasks.contract.pages import page
from tasks.contract.rate_limit import SubmissionLimit
from tasks.contract.schedules import (
    FILTERS,
    PREVIEW,
    check_given_back,
    checked_change,
    find_schedule,
    gives_back,
    preview_as_list,
    read_again,
    read_change,
    read_range,
    read_schedule,
    schedule_as_dict,
    visible_results,
    visible_schedules,
)
from tasks.contract.sight import Lens, sight_of
from tasks.contract.tasks import task_as_dict
from tasks.lifecycle import schedules
from tasks.models import Schedule


class ScheduleList(ApiView):
    """``GET schedules`` lists, ``POST schedules`` adds one."""

    actions = {"GET": VIEW_SCHEDULE, "POST": ADD_SCHEDULE}

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any]:
        """Suggest the first example."""
        return EXAMPLES["addSchedule"]["Each weekday at six"]

    def get(self, request: Request) -> Response:
        """List schedules, newest first."""
        asked = parameters(request)
        found = page(filtered(visible_schedules(caller_of(request)), asked, FILTERS), asked)
        return Response(page_as_dict(request, found, lambda schedule: _written(request, schedule)))

    def post(self, request: Request) -> Response:
        """Add a schedule; it fires from now on, and its tasks belong to the caller."""
        body, caller = read_object(request), caller_of(request)
        by = author_of(request, take_reason(body))
        name, definition = read_schedule(body, caller=caller)
        schedule = schedules.add(name, definition, owner_id=caller.owner_id, by=by)
        answer = _written(request, schedule)
        return Response(answer, status=201, headers={"Location": answer["url"], "ETag": _etag(schedule)})


class ScheduleDetail(ApiView):
    """``GET``, ``PUT``, ``PATCH`` and ``DELETE schedules/{id}``."""

    actions = {"GET": VIEW_SCHEDULE, "PUT": CHANGE_SCHEDULE, "PATCH": CHANGE_SCHEDULE, "DELETE": DELETE_SCHEDULE}

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any] | None:
        """Suggest what may be changed, with its current values."""
        names = ("name", "actor", "payload", "cron", "every_seconds", "timezone", "overlap", "catch_up")
        return {name: answer[name] for name in names if answer.get(name) is not None} or None

    def get(self, request: Request, schedule_id: str) -> Response:
        """Read one schedule, with the results of its last tasks that you may see."""
        schedule = _find(request, schedule_id)
        results = visible_results(schedule, caller=caller_of(request), url=urls_of(request, "api-tasks"))
        return Response(_written(request, schedule) | {"last_results": results}, headers={"ETag": _etag(schedule)})

    def put(self, request: Request, schedule_id: str) -> Response:
        """Replace a schedule; what is left out gets its default, as in a new one."""
        schedule, body, caller = _find(request, schedule_id), read_object(request), caller_of(request)
        by = author_of(request, take_reason(body))
        name, definition = read_schedule(body, caller=caller)
        return self._edit(request, schedule, {"name": name, **definition}, by=by)

    def patch(self, request: Request, schedule_id: str) -> Response:
        """Change some fields; `{"taken_over": false}` alone gives a schedule back to the code that declares it."""
        schedule, body = _find(request, schedule_id), read_object(request)
        by = author_of(request, take_reason(body))
        if gives_back(body):
            check_given_back(schedule, caller=caller_of(request))
            schedules.give_back(schedule.pk, version=version_in(request), by=by)
            return _answer(request, schedule)
        return self._edit(request, schedule, read_change(body, schedule=schedule, caller=caller_of(request)), by=by)

    def delete(self, request: Request, schedule_id: str) -> Response:
        """Remove a schedule; its tasks stay. One that code declares can only be paused."""
        schedule = _find(request, schedule_id)
        schedules.remove(schedule.pk, version=version_in(request), by=read_author(request))
        return Response(status=204)

    @staticmethod
    def _edit(request: Request, schedule: Schedule, change: dict[str, Any], *, by: Any) -> Response:
        version = version_in(request)
        change = checked_change(change, schedule=schedule, caller=caller_of(request), lens=_lens(request, schedule))
        # The change was made for this version.
        schedules.edit(schedule.pk, change, version=schedule.version if version is None else version, by=by)
        return _answer(request, schedule)


class SchedulePause(ApiView):
    """``POST schedules/{id}/pause``."""

    actions = {"POST": PAUSE_SCHEDULE}

    def post(self, request: Request, schedule_id: str) -> Response:
        """Stop firing; tasks that are there go on."""
        schedule = _find(request, schedule_id)
        schedules.pause(schedule.pk, by=read_author(request))
        return _answer(request, schedule)


class ScheduleResume(ApiView):
    """``POST schedules/{id}/resume``."""

    actions = {"POST": PAUSE_SCHEDULE}

    def post(self, request: Request, schedule_id: str) -> Response:
        """Fire again from now on; fires during the pause are not caught up."""
        schedule = _find(request, schedule_id)
        schedules.resume(schedule.pk, by=read_author(request))
        return _answer(request, schedule)


class ScheduleRun(ApiView):
    """``POST schedules/{id}/run``."""

    actions = {"POST": RUN_SCHEDULE}

    def post(self, request: Request, schedule_id: str) -> Response:
        """Submit one task now, whether the schedule is paused or its last task still runs."""
        schedule, caller = _find(request, schedule_id), caller_of(request)
        limit = SubmissionLimit(caller)
        task = schedules.run(schedule.pk, by=read_author(request), admit=limit)
        answer = task_as_dict(task, url=urls_of(request, "api-tasks"), sees=sight_of(caller))
        return Response(answer, status=201, headers={"Location": answer["url"], **limit.headers})


class ScheduleBackfill(ApiView):
    """``POST schedules/{id}/backfill``."""

    actions = {"POST": RUN_SCHEDULE}

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any]:
        """Suggest a range."""
        return EXAMPLES["backfillSchedule"]["One week"]

    def post(self, request: Request, schedule_id: str) -> Response:
        """Make the tasks of past fires that have none, a few at a time and at most 1,000."""
        schedule, caller, body = _find(request, schedule_id), caller_of(request), read_object(request)
        by, limit = author_of(request, take_reason(body)), SubmissionLimit(caller)
        asked = read_range(body)
        count = schedules.backfill(schedule.pk, start=asked["starts_at"], end=asked["ends_at"], by=by, admit=limit)
        return Response({"fires": count, "schedule": _written(request, read_again(schedule))}, headers=limit.headers)


class SchedulePreview(ApiView):
    """``GET schedules/{id}/preview``."""

    actions = {"GET": VIEW_SCHEDULE}

    def get(self, request: Request, schedule_id: str) -> Response:
        """List the next fires, whether the schedule is paused or not."""
        schedule = _find(request, schedule_id)
        asked = fields.read_parameters(parameters(request), PREVIEW)
        after = asked.pop("after", None) or schedules.database_now()
        return Response({"results": preview_as_list(schedule, after=after, **asked)})


def _find(request: Request, text: str) -> Schedule:
    return find_schedule(caller_of(request), text)


def _lens(request: Request, schedule: Schedule) -> Lens:
    return Lens(sight_of(caller_of(request))(schedule.owner_id), schedule)


def _written(request: Request, schedule: Schedule) -> dict[str, Any]:
    return schedule_as_dict(schedule, url=urls_of(request, "api-schedules"), lens=_lens(request, schedule))


def _answer(request: Request, schedule: Schedule) -> Response:
    schedule = read_again(schedule)
    return Response(_written(request, schedule), headers={"ETag": _etag(schedule)})


def _etag(schedule: Schedule) -> str:
    return f'"{schedule.version}"'
