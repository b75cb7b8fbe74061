"""The REST API of dead letters and failures: list, export, read, re-drive, discard, restore; assign, snooze, note."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.api.addresses import page_as_dict, parameters, urls_of
from tasks.api.authors import author_of, read_author
from tasks.api.parsers import read_object
from tasks.api.permissions import caller_of, find_row
from tasks.api.urls import both
from tasks.api.views import ApiView
from tasks.contract.access import (
    CHANGE_FAILURE,
    DISCARD_DEAD_LETTER,
    REDRIVE_DEAD_LETTER,
    RESTORE_DEAD_LETTER,
    VIEW_DEAD_LETTER,
    VIEW_FAILURE,
    Action,
    visible,
)
from tasks.contract.dead_letter_export import EXPORT_FILTERS, Format, find, sees_payloads_of, written
from tasks.contract.dead_letters import FILTERS, dead_letter_as_dict, lenses, permitted_payload, read_redrive
from tasks.contract.failures import (
    anatomy,
    anatomy_as_dict,
    failure_as_dict,
    find_failure,
    lenses_of,
    list_failures,
    read_change,
)
from tasks.contract.filters import filtered
from tasks.contract.journal import take_reason
from tasks.contract.pages import page
from tasks.contract.rate_limit import SubmissionLimit
from tasks.contract.sight import sight_of
from tasks.contract.streams import streamed


class DeadLetterList(ApiView):
    """``GET dlq``."""

    actions = {"GET": VIEW_DEAD_LETTER}

    def get(self, request: Request) -> Response:
        """List dead letters, newest first; ``resolution=open`` lists the unresolved ones."""
        asked = parameters(request)
        found = page(
            filtered(visible(DeadLetter.objects.all(), caller_of(request), VIEW_DEAD_LETTER), asked, FILTERS), asked
        )
        return Response(page_as_dict(request, found, _writer(request, found.rows)))


class DeadLetterExport(ApiView):
    """``GET dlq/export``."""

    actions = {"GET": VIEW_DEAD_LETTER}

    def get(self, request: Request) -> HttpResponseBase:
        """Export the newest dead letters that match, with their payloads, as JSON or CSV."""
        caller, asked = caller_of(request), parameters(request)
        rows = filtered(visible(DeadLetter.objects.all(), caller, VIEW_DEAD_LETTER), asked, EXPORT_FILTERS, others=())
        form = Format[asked.get("format", ["json"])[0].upper()]
        sees = {"sees": sight_of(caller), "sees_payloads": sees_payloads_of(caller)}
        body = streamed(written(find(rows), form, **sees), is_async=isinstance(request._request, ASGIRequest))
        headers = {"Content-Disposition": f'attachment; filename="dead-letters.{form.name.lower()}"'}
        return StreamingHttpResponse(body, content_type=form.value, headers=headers)


class DeadLetterDetail(ApiView):
    """``GET dlq/{id}``."""

    actions = {"GET": VIEW_DEAD_LETTER}

    def get(self, request: Request, letter_id: str) -> Response:
        """Read one dead letter."""
        return Response(_written(request, letter_id, VIEW_DEAD_LETTER))


class DeadLetterRedrive(ApiView):
    """``POST dlq/{id}/redrive``."""

    actions = {"POST": REDRIVE_DEAD_LETTER}

    def post(self, request: Request, letter_id: str) -> Response:
        """Re-drive a dead letter: run its task again with a fresh set of retries, and with this payload if given."""
        letter, caller = _find(request, letter_id, REDRIVE_DEAD_LETTER), caller_of(request)
        reason, payload = read_redrive(read_object(request, optional=True))
        payload, limit = permitted_payload(payload, letter=letter, caller=caller), SubmissionLimit(caller)
        status = lifecycle.redrive(letter.pk, by=author_of(request, reason), admit=limit, payload=payload)
        answer = _written(request, letter_id, REDRIVE_DEAD_LETTER) | {"task_status": status}
        return Response(answer, headers=limit.headers)


class DeadLetterDiscard(ApiView):
    """``POST dlq/{id}/discard``."""

    actions = {"POST": DISCARD_DEAD_LETTER}

    def post(self, request: Request, letter_id: str) -> Response:
        """Discard a dead letter: resolve it without running its task again."""
        letter = _find(request, letter_id, DISCARD_DEAD_LETTER)
        lifecycle.discard(letter.pk, by=read_author(request))
        return Response(_written(request, letter_id, DISCARD_DEAD_LETTER))


class DeadLetterRestore(ApiView):
    """``POST dlq/{id}/restore``."""

    actions = {"POST": RESTORE_DEAD_LETTER}

    def post(self, request: Request, letter_id: str) -> Response:
        """Restore a discarded dead letter: open it again while its task is kept."""
        letter = _find(request, letter_id, RESTORE_DEAD_LETTER)
        lifecycle.restore(letter.pk, by=read_author(request))
        return Response(_written(request, letter_id, RESTORE_DEAD_LETTER))


class FailureList(ApiView):
    """``GET failures``."""

    actions = {"GET": VIEW_FAILURE}

    def get(self, request: Request) -> Response:
        """List the causes of deaths, the one that was last seen first."""
        caller, url = caller_of(request), urls_of(request, "api-failures")
        found = list_failures(caller, parameters(request))
        seen = lenses_of(found.rows, sees=sight_of(caller))
        rows = [failure_as_dict(one, url=url, lens=seen[one.pk]) for one in found.rows]
        return Response({"results": rows, "is_capped": found.is_capped})


class FailureDetail(ApiView):
    """``GET`` and ``PATCH failures/{fingerprint}``."""

    actions = {"GET": VIEW_FAILURE, "PATCH": CHANGE_FAILURE}

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any]:
        """Suggest a note."""
        return {"note": "The fix is on its way."}

    def get(self, request: Request, fingerprint: str) -> Response:
        """Read one failure, with what its newest open dead letters have in common."""
        sees = sight_of(caller_of(request))
        failure = find_failure(caller_of(request), fingerprint)
        return Response(_failure(request, failure) | anatomy_as_dict(anatomy(failure, sees=sees)))

    def patch(self, request: Request, fingerprint: str) -> Response:
        """Assign a failure, snooze it, or write a note."""
        failure = find_failure(caller_of(request), fingerprint)
        body = read_object(request)
        by = author_of(request, take_reason(body))
        lifecycle.look_after(failure.pk, read_change(body), by=by)
        return Response(_failure(request, find_failure(caller_of(request), fingerprint)))


def _failure(request: Request, failure: Failure) -> dict[str, Any]:
    lens = lenses_of([failure], sees=sight_of(caller_of(request)))[failure.pk]
    return failure_as_dict(failure, url=urls_of(request, "api-failures"), lens=lens)


def _find(request: Request, text: str, action: Action) -> DeadLetter:
    rows = DeadLetter.objects.all()
    return find_row(request, rows, text, action, view=VIEW_DEAD_LETTER, kind="dead letter")


def _written(request: Request, text: str, action: Action) -> dict[str, Any]:
    letter = _find(request, text, action)
    return _writer(request, [letter])(letter)


def _writer(request: Request, letters: Sequence[DeadLetter]) -> Callable[[DeadLetter], dict[str, Any]]:
    url, task_url = urls_of(request, "api-dlq"), urls_of(request, "api-tasks")
    seen = lenses(letters, sees=sight_of(caller_of(request)))
    return lambda letter: dead_letter_as_dict(letter, url=url, task_url=task_url, lens=seen[letter.pk])


urlpatterns = [
    *both("failures", FailureList.as_view(), "api-failures"),
    *both("failures/<str:fingerprint>", FailureDetail.as_view(), "api-failure"),
    *both("dlq", DeadLetterList.as_view(), "api-dlq"),
    *both("dlq/export", DeadLetterExport.as_view(), "api-dlq-export"),
    *both("dlq/<str:letter_id>", DeadLetterDetail.as_view(), "api-dead-letter"),
    *both("dlq/<str:letter_id>/redrive", DeadLetterRedrive.as_view(), "api-dead-letter-redrive"),
    *both("dlq/<str:letter_id>/discard", DeadLetterDiscard.as_view(), "api-dead-letter-discard"),
    *both("dlq/<str:letter_id>/restore", DeadLetterRestore.as_view(), "api-dead-letter-restore"),
]
