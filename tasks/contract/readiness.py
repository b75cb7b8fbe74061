"""Readiness: whether this process can accept tasks, and the state of each component.

It is asked in the background, once for all probes, so a server that does not answer holds none of them.
"""

import threading
from collections.abc import Mapping
from typing import Any

import dramatiq
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now

from tasks.broker import logins
from tasks.circuit_breaker import CircuitBreaker
from tasks.conf import conf
from tasks.contract import rate_limit
from tasks.db import call_timeout, server
from tasks.models import Lease, Worker

OK, DOWN, MISSING, NONE = "ok", "down", "missing", "none"
#: The server answers, and does not accept the login that the settings name.
REFUSED = "refused"
#: What must be ok before tasks can be accepted.
TO_ACCEPT_TASKS = ("database", "migrations")

_migrated = threading.Event()


def state() -> dict[str, str]:
    """Look at what submission needs, then at the rest: accepted tasks wait in the database, and limits may be open."""
    checks = {"database": server.breaker, "broker": _broker}
    if conf.REDIS_URL:
        checks["limiter"] = rate_limit.breaker
    for check in checks.values():
        # All at once, because each may need its whole patience.
        check.suspect()
    found = {name: _state_of(check) for name, check in checks.items()}
    return {"migrations": _migrations() if found["database"] == OK else DOWN, **found}


def whole_state() -> dict[str, str]:
    """Look at the same, and whether a scheduler and workers are there to run the tasks."""
    found = state()
    if found["database"] == OK:
        found |= {name: _found_in_database(name) for name in ("workers", "scheduler")}
    return found


def to_run_tasks() -> dict[str, str]:
    """Look at what schedulers and workers need: a broker and a leader as well."""
    found = whole_state()
    return {name: found.get(name, DOWN) for name in ("database", "migrations", "broker", "scheduler")}


def is_ready(components: Mapping[str, str]) -> bool:
    """Tell whether tasks can be accepted."""
    return all(components[name] == OK for name in TO_ACCEPT_TASKS)


def is_healthy(components: Mapping[str, str]) -> bool:
    """Tell whether tasks can be accepted and no server refuses the login: limits would be off without a word."""
    return is_ready(components) and REFUSED not in components.values()


def _state_of(check: CircuitBreaker) -> str:
    if check.answers() and not check.is_open:
        return OK
    return REFUSED if logins.is_refusal(check.error) else DOWN


def _migrations() -> str:
    # Migrations are not reversed under a running process, and this check costs more than the rest of a probe.
    return OK if _migrated.is_set() else _found_in_database("migrations")


def _found_in_database(name: str) -> str:
    return _found.get(name, DOWN) if _facts.answers() else DOWN


def _look_into_database() -> None:
    try:
        with call_timeout.bounded(server.PROBE_SECONDS):
            _found.update(migrations=_find_migrations(), workers=_find_workers(), scheduler=_find_scheduler())
    finally:
        connection.close()


def _find_migrations() -> str:
    if not _migrated.is_set():
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return MISSING
        _migrated.set()
    return OK


def _find_workers() -> str:
    return OK if Worker.objects.present().exists() else NONE


def _find_scheduler() -> str:
    return OK if Lease.objects.filter(expires_at__gt=Now()).exists() else NONE


def _ping_broker() -> None:
    broker: Any = dramatiq.get_broker()
    broker.source.ping()


_found: dict[str, str] = {}
_facts = CircuitBreaker("database facts", _look_into_database)
_broker = CircuitBreaker("broker", _ping_broker)
