"""Probes: is this process alive, and can it accept tasks? Open to everybody, so they show component states only."""

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from tasks.api.problems import problem
from tasks.contract import readiness
from tasks.contract.readiness import OK
from tasks.errors import NotReady


@csrf_exempt
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """``/healthz``: this process answers. It checks nothing else, or a database restart would restart every process."""
    return JsonResponse({"status": OK})


@csrf_exempt
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """``/readyz``: this process can accept tasks."""
    components = readiness.state()
    return _answer(components, is_well=readiness.is_ready(components))


@csrf_exempt
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """``/health``: as ``/readyz``, and whether a scheduler and workers are there; a refused login is an error here."""
    components = readiness.whole_state()
    return _answer(components, is_well=readiness.is_healthy(components))


def _answer(components: Mapping[str, str], *, is_well: bool) -> HttpResponse:
    if is_well:
        return JsonResponse({"status": OK, "components": components})
    return problem(NotReady(), components=components)
