"""The REST API of dead letters: list, read, re-drive, discard."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from dlq.models import DeadLetter, DeadLetterQuerySet
from tasks import lifecycle
from tasks.api import fields, serializers
from tasks.api.filters import Filter, choice, filtered
from tasks.api.pagination import page
from tasks.api.reach import reach_of
from tasks.api.urls import both
from tasks.api.views import ApiView, find, read_nothing
from tasks.states import DeathReason, Resolution

FILTERS: Mapping[str, Filter] = {
    "reason": Filter(choice(DeathReason), DeadLetterQuerySet.died_of),
    "resolution": Filter(choice(Resolution), DeadLetterQuerySet.resolved_as),
    "actor": Filter(fields.text(255), DeadLetterQuerySet.for_actor),
    "queue": Filter(fields.text(100), DeadLetterQuerySet.in_queue),
    "task": Filter(fields.identifier, DeadLetterQuerySet.of_task),
}


class DeadLetterList(ApiView):
    """``GET dlq``."""

    def get(self, request: Request) -> Response:
        """List dead letters, newest first; ``resolution=open`` are those that nobody has dealt with."""
        rows = filtered(_visible(request), request.GET, FILTERS)
        return Response(page(request._request, rows, shape=_shape(request)))


class DeadLetterDetail(ApiView):
    """``GET dlq/{id}``."""

    def get(self, request: Request, letter_id: str) -> Response:
        """Read one dead letter."""
        return Response(_shape(request)(_find(request, letter_id)))


class DeadLetterRedrive(ApiView):
    """``POST dlq/{id}/redrive``."""

    def post(self, request: Request, letter_id: str) -> Response:
        """Give the dead letter's task a second life."""
        letter = _find(request, letter_id)
        read_nothing(request)
        status = lifecycle.redrive(letter.pk, by=request.user.get_username())
        return Response(_shape(request)(_find(request, letter_id)) | {"task_status": status})


class DeadLetterDiscard(ApiView):
    """``POST dlq/{id}/discard``."""

    def post(self, request: Request, letter_id: str) -> Response:
        """Resolve the dead letter without running its task again."""
        letter = _find(request, letter_id)
        read_nothing(request)
        lifecycle.discard(letter.pk, by=request.user.get_username())
        return Response(_shape(request)(_find(request, letter_id)))


def dead_letter_as_dict(
    letter: DeadLetter, *, url: Callable[[UUID], str], task_url: Callable[[UUID], str]
) -> dict[str, Any]:
    """Give a dead letter its shape on the wire."""
    return {
        "id": str(letter.pk),
        "url": url(letter.pk),
        "task_id": str(letter.task_id),
        "task_url": task_url(letter.task_id),
        "actor": letter.actor,
        "queue": letter.queue,
        "attempt": letter.attempt,
        "reason": letter.reason,
        "error": serializers.error_as_dict(letter.error_type, letter.error_message),
        "fingerprint": letter.fingerprint,
        "died_at": serializers.timestamp(letter.died_at),
        "resolution": Resolution(letter.resolution).name,
        "resolved_by": letter.resolved_by or None,
        "resolved_at": serializers.timestamp(letter.resolved_at),
    }


def _visible(request: Request) -> DeadLetterQuerySet:
    return reach_of(request).narrow(DeadLetter.objects.visible_to(request.user))


def _find(request: Request, text: str) -> DeadLetter:
    return find(_visible(request), text, kind="dead letter")


def _shape(request: Request) -> Callable[[DeadLetter], dict[str, Any]]:
    base = request.build_absolute_uri(reverse("api-dlq"))
    task_url = serializers.task_urls(request._request)
    return lambda letter: dead_letter_as_dict(letter, url=lambda id: f"{base}/{id}", task_url=task_url)


urlpatterns = [
    *both("dlq", DeadLetterList.as_view(), "api-dlq"),
    *both("dlq/<str:letter_id>", DeadLetterDetail.as_view(), "api-dead-letter"),
    *both("dlq/<str:letter_id>/redrive", DeadLetterRedrive.as_view(), "api-dead-letter-redrive"),
    *both("dlq/<str:letter_id>/discard", DeadLetterDiscard.as_view(), "api-dead-letter-discard"),
]
