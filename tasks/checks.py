"""System checks: mistakes across settings, found by ``manage.py check`` and at every start.

Checks that ask the database run with ``check --database default``, ``migrate`` and ``runworkers``.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.conf import settings
from django.core import mail
from django.core.checks import CheckMessage, Error, Info, Tags
from django.core.checks import Warning as Caution
from django.core.checks import register as django_register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, DatabaseError
from django.utils.module_loading import import_string

from tasks import healthcheck, registry
from tasks.broker import logins
from tasks.broker.brokers import REPLACED
from tasks.conf import Conf, conf
from tasks.db import former_label
from tasks.db.server import session_room
from tasks.declared_schedules import all_declared
from tasks.models import Worker
from tasks.setting import declared

#: The most database sessions of a process. A worker and the api need one more for each of their threads
#: (``tests/acceptance/test_session_counts.py`` counts them).
SCHEDULER_SESSIONS = 11
SUPERVISOR_SESSIONS = 2
WORKER_SESSIONS = 7
API_SESSIONS = 5

#: How long a gRPC server may take to say that it runs.
LONGEST_ANSWER_SECONDS = 1.0
#: In characters; a key of 16 random bytes in hexadecimal digits has as many.
SHORTEST_KEY = 32
#: How many different characters a key has at least.
FEWEST_IN_KEY = 8


Check = Callable[..., list[CheckMessage]]


def register(*tags: str) -> Callable[[Check], Check]:
    """Register a check that says nothing if it meets a wrong setting; `check_settings` tells that, with all others."""

    def registered(check: Check) -> Check:
        @wraps(check)
        def careful(*args: Any, **options: Any) -> list[CheckMessage]:
            try:
                return check(*args, **options)
            except ImproperlyConfigured:
                if check_settings():
                    return []
                raise

        return django_register(*tags)(careful)

    return registered


@django_register()
def check_settings(**_: Any) -> list[CheckMessage]:
    """Every setting is read once, so that a wrong value is told at the start and not by the first task."""
    wrong: list[CheckMessage] = []
    for setting in declared(Conf):
        try:
            getattr(conf, setting.name)
        except ImproperlyConfigured as error:
            wrong.append(Error(str(error), id="callboard.E018"))
    known = {setting.name for setting in declared(Conf)}
    return [
        *wrong,
        *(
            Error(
                f"CALLBOARD names {name}, which is no setting.",
                hint=_similar(name, known) or "tasks/conf.py lists the settings.",
                id="callboard.E019",
            )
            for name in getattr(settings, "CALLBOARD", {})
            if name not in known
        ),
    ]


def _similar(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(str(name).upper(), known, n=1)
    return f"Did you mean {found[0]}?" if found else ""


@register()
def check_lease(**_: Any) -> list[CheckMessage]:
    """A worker needs more than one heartbeat within its lease, or one lost packet costs it its tasks."""
    if conf.WORKER_LEASE_SECONDS >= 2 * conf.HEARTBEAT_INTERVAL_SECONDS:
        return []
    return [
        Error(
            f"WORKER_LEASE_SECONDS is {conf.WORKER_LEASE_SECONDS:g}, less than two heartbeats of "
            f"{conf.HEARTBEAT_INTERVAL_SECONDS:g} s.",
            hint="Make the lease at least twice HEARTBEAT_INTERVAL_SECONDS; three times is the default.",
            id="callboard.E001",
        )
    ]


@register()
def check_submission_limit(**_: Any) -> list[CheckMessage]:
    """A bucket in memory belongs to one process: several processes would multiply the limit."""
    if conf.REDIS_URL or conf.SUBMIT_RATE_LIMIT is None or conf.WEB_CONCURRENCY == 1:
        return []
    return [
        Error(
            f"SUBMIT_RATE_LIMIT needs Redis, because WEB_CONCURRENCY is {conf.WEB_CONCURRENCY}.",
            hint="Set REDIS_URL, or WEB_CONCURRENCY=1, or SUBMIT_RATE_LIMIT=0.",
            id="callboard.E002",
        )
    ]


@register()
def check_metrics_address(**_: Any) -> list[CheckMessage]:
    """An address that reaches the API must not reach the metrics, too."""
    if conf.METRICS_ADDRESS is None or conf.METRICS_ADDRESS[1] != conf.API_PORT:
        return []
    return [
        Error(
            f"METRICS_ADDRESS has the port of the api, {conf.API_PORT}.",
            hint="Choose another port for METRICS_ADDRESS, such as 9191, or leave it out and scrape with a token.",
            id="callboard.E006",
        )
    ]


@register(Tags.security)
def check_secret_key(_apps: Any = None, **_: Any) -> list[CheckMessage]:
    """A key that can be guessed lets anyone sign a session of any user; without a key, nothing that signs starts."""
    try:
        key = settings.SECRET_KEY
    except ImproperlyConfigured:
        return []
    fault = _fault_of_key(key)
    if settings.DEBUG or _is_a_test_run() or not fault:
        return []
    return [
        Error(
            f"SECRET_KEY {fault}; expected at least {SHORTEST_KEY} random characters.",
            hint='To make one: python -c "import secrets; print(secrets.token_urlsafe(50))"',
            id="callboard.E003",
        )
    ]


def _is_a_test_run() -> bool:
    """Tell whether Django has set up its test environment, in which DEBUG is off whatever the settings say."""
    return hasattr(mail, "outbox")


def _fault_of_key(key: str) -> str:
    if len(key) < SHORTEST_KEY:
        return f"has {len(key)} characters"
    if len(set(key)) < FEWEST_IN_KEY:
        return f"has only {len(set(key))} different characters"
    return 'begins with "django-insecure-"' if key.startswith("django-insecure-") else ""


@register()
def check_middleware(**_: Any) -> list[CheckMessage]:
    """Middleware of Dramatiq whose work is done by rows would do it a second time."""
    given: list[Any] = [*getattr(settings, "DRAMATIQ_BROKER", {}).get("MIDDLEWARE", [])]
    names = {f"dramatiq.middleware.{kind.__name__}" for kind in REPLACED}
    found = [one if isinstance(one, str) else type(one).__name__ for one in given if _is_replaced(one)]
    return [
        Error(
            f"MIDDLEWARE of DRAMATIQ_BROKER names {name}, whose work is done by rows.",
            hint=f"Remove it and all of {', '.join(sorted(names))}; their options work without them.",
            id="callboard.E004",
        )
        for name in found
    ]


def _is_replaced(middleware: Any) -> bool:
    kind: Any = import_string(middleware) if isinstance(middleware, str) else type(middleware)
    return inspect.isclass(kind) and issubclass(kind, REPLACED)


@register()
def check_encoder(**_: Any) -> list[CheckMessage]:
    """Payloads are columns of JSON, so an encoder would be ignored."""
    name = getattr(settings, "DRAMATIQ_ENCODER", _JSON_ENCODER)
    if name in (_JSON_ENCODER, "dramatiq.JSONEncoder"):
        return []
    return [
        Error(
            f"DRAMATIQ_ENCODER is {name}, but tasks are stored as JSON.",
            hint="Remove it. Dates, UUIDs, enums and dataclasses are made of JSON by the actor's annotations.",
            id="callboard.E005",
        )
    ]


_JSON_ENCODER = "dramatiq.encoder.JSONEncoder"


@register()
def check_result_backend(**_: Any) -> list[CheckMessage]:
    """A result backend beside the rows keeps every result twice."""
    if not getattr(settings, "DRAMATIQ_RESULT_BACKEND", None):
        return []
    return [
        Info(
            "DRAMATIQ_RESULT_BACKEND keeps results a second time: the tasks' rows have them already.",
            hint="Remove it unless other programs read from it; message.get_result() works without it.",
            id="callboard.I001",
        )
    ]


@register()
def check_annotations(**_: Any) -> list[CheckMessage]:
    """An annotation that cannot be read checks nothing, and its argument stays the JSON that came."""
    return [
        Caution(
            f"The argument {name!r} of the actor {spec.name!r} is neither checked nor converted: {reason}.",
            hint="Import the name where the actor is declared, or annotate it with a type that JSON can hold.",
            id="callboard.W002",
        )
        for spec in registry.all_specs()
        for name, reason in spec.arguments.unchecked.items()
    ]


@register()
def check_schedules(**_: Any) -> list[CheckMessage]:
    """Schedules in code are read when a scheduler begins to lead; a wrong one is told before."""
    try:
        all_declared()
    except (ValueError, ImproperlyConfigured) as error:
        hint = "docs/how-to.md, Run on a schedule, has the fields."
        return [Error(f"Schedules in code: {error}.", hint=hint, id="callboard.E021")]
    return []


@register(Tags.database)
def check_label(databases: Iterable[str] | None = None, **_: Any) -> list[CheckMessage]:
    """A database of a release before 0.2 knows the app's migrations by its former label."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        if not former_label.is_there():
            return []
    except DatabaseError:
        return []
    return [
        Error(
            f"This database was migrated when the app's label was {former_label.FORMER!r}.",
            hint='Run once: manage.py shell -c "from tasks.db import former_label; former_label.rename()"',
            id="callboard.E010",
        )
    ]


@register(Tags.database)
def check_logins(databases: Iterable[str] | None = None, **_: Any) -> list[CheckMessage]:
    """A Redis that refuses the login would switch the limits of submissions and logins off."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    return [
        Error(
            f"{name}: the server refuses the login: {words}",
            hint=f"Put the user and the password of that server into {name}, as docs/deploy.md shows it.",
            id="callboard.E022",
        )
        for name, words in logins.refused().items()
    ]


@register(Tags.database)
def check_sessions(databases: Iterable[str] | None = None, **_: Any) -> list[CheckMessage]:
    """The server needs room for the sessions of the live workers, of a scheduler, of the api and of gRPC servers."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    return sessions_that_do_not_fit(processes=0, threads=0)


def sessions_that_do_not_fit(*, processes: int, threads: int) -> list[CheckMessage]:
    """Warn if the processes about to start here would need more sessions than are left beside those elsewhere.

    Parameters:
        processes: worker processes to start on this machine; 0 counts those that run on it.
        threads: of each of them.
    """
    try:
        room = session_room()
        live = Worker.objects.taking()
        workers, working = (live.exclude(host=conf.WORKER_NAME) if processes else live).counted()
    except DatabaseError:
        # The database is not migrated, or away: other messages tell that.
        return []
    workers, working = workers + processes, working + processes * threads
    need = working + workers * WORKER_SESSIONS + (SUPERVISOR_SESSIONS if workers else 0) + SCHEDULER_SESSIONS
    need += conf.WEB_CONCURRENCY * (conf.API_THREADS + API_SESSIONS + (conf.METRICS_ADDRESS is not None))
    # Only their health checks tell of gRPC servers, so those of other machines do not count.
    servers = healthcheck.count(conf.HEALTH_DIR, "grpc", seconds=LONGEST_ANSWER_SECONDS)
    need += servers * (conf.GRPC_THREADS + API_SESSIONS)
    if room is None or need <= room:
        return []
    return [
        Caution(
            f"{workers} worker processes with {working} threads in all, {servers} gRPC servers, a scheduler and the "
            f"api may need {need} sessions of PostgreSQL, which has {room} for them.",
            hint="Raise max_connections, start fewer processes or threads, or put a pooler in between "
            "(docs/deploy.md, Database sessions).",
            id="callboard.W001",
        )
    ]
