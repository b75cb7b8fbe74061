"""Probes: is this process alive, and can it accept tasks? Open to everybody, so they show component states only."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dramatiq
import structlog
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from tasks.api.problems import problem
from tasks.db.server import ping
from tasks.errors import CallboardError, NotReady
from tasks.models import Lease, Worker

BROKER_TIMEOUT_SECONDS = 0.5

OK, DOWN, MISSING, NONE = "ok", "down", "missing", "none"

_migrated = threading.Event()
_pings = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker-ping")
_log = structlog.get_logger(__name__)


@csrf_exempt
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """``/healthz``: this process answers. It checks nothing else, or a database restart would restart every process."""
    return JsonResponse({"status": OK})


@csrf_exempt
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """``/readyz``: this process can accept tasks."""
    return _answer(_needed() | _told())


@csrf_exempt
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """``/health``: as ``/readyz``, and whether a scheduler and workers are there to run the tasks."""
    components = _needed()
    if components["database"] == OK:
        components |= {"workers": _attempted(_workers), "scheduler": _attempted(_scheduler)}
    return _answer(components | _told())


def _answer(components: Mapping[str, str]) -> HttpResponse:
    if all(components[name] == OK for name in ("database", "migrations")):
        return JsonResponse({"status": OK, "components": components})
    return problem(NotReady(), components=components)


def _needed() -> dict[str, str]:
    database = _attempted(_database)
    return {"database": database, "migrations": _attempted(_migrations) if database == OK else DOWN}


def _told() -> dict[str, str]:
    """Check what submission does not need: accepted tasks wait in the database."""
    return {"broker": _attempted(_broker)}


def _attempted(look: Callable[[], str]) -> str:
    try:
        return look()
    except (DatabaseError, CallboardError) as error:
        _log.warning("a health probe found a component down", component=look.__name__.strip("_"), error=str(error))
        return DOWN


def _database() -> str:
    ping()
    return OK


def _migrations() -> str:
    if not _migrated.is_set():
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return MISSING
        # Migrations are not reversed under a running process, and this check costs more than the rest of a probe.
        _migrated.set()
    return OK


def _broker() -> str:
    broker: Any = dramatiq.get_broker()
    # In a thread: a broker that drops packets must not make a ready process fail its probe.
    try:
        _pings.submit(broker.source.ping).result(timeout=BROKER_TIMEOUT_SECONDS)
    except TimeoutError:
        return DOWN
    return OK


def _workers() -> str:
    return OK if Worker.objects.present().exists() else NONE


def _scheduler() -> str:
    return OK if Lease.objects.filter(expires_at__gt=Now()).exists() else NONE
