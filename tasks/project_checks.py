"""System checks of the project around Callboard: what it lacks is told at the start, not by the first request."""

from collections.abc import Iterable
from typing import Any

import dramatiq
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution
from django.db import DEFAULT_DB_ALIAS, connection, router
from django.db.backends.postgresql.psycopg_any import is_psycopg3
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from tasks.api.middleware import RequestMiddleware
from tasks.broker.brokers import CallboardBroker
from tasks.models import Task

_PAGE = "docs/into-your-project.md"


@register(Tags.database)
def check_database(databases: Iterable[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Statements are PostgreSQL's, and psycopg2 sends them."""
    del databases
    return list(_faults_of_database())


def _faults_of_database() -> Iterable[CheckMessage]:
    if connection.vendor != "postgresql":
        yield Error(
            f"DATABASES['default'] is {connection.vendor}, but Callboard runs on PostgreSQL only.",
            hint="Make PostgreSQL 14 or newer the default database; others may stand beside it.",
            id="callboard.E011",
        )
    elif is_psycopg3:
        yield Error(
            "Django uses psycopg 3, because it is installed, but Callboard needs psycopg2.",
            hint="Remove the package psycopg; psycopg2-binary comes with Callboard.",
            id="callboard.E012",
        )
    alias = router.db_for_write(Task)
    if alias != DEFAULT_DB_ALIAS:
        yield Error(
            f"DATABASE_ROUTERS send Callboard's tables to the database {alias!r}.",
            hint="Leave the apps 'callboard' and 'dlq' in the default database: its transactions submit tasks.",
            id="callboard.E013",
        )


@register()
def check_broker(**_: Any) -> list[CheckMessage]:
    """Another broker would send messages that no worker of Callboard sees."""
    broker = dramatiq.get_broker()
    if isinstance(broker, CallboardBroker):
        return []
    return [
        Error(
            f"Dramatiq's broker is {type(broker).__name__}, not Callboard's.",
            hint="Remove DRAMATIQ_BROKER: Callboard builds its own from BROKER_URL and DRAMATIQ_MIDDLEWARE. "
            "INSTALLED_APPS needs *callboard.APPS in its order.",
            id="callboard.E014",
        )
    ]


@register()
def check_apps(**_: Any) -> list[CheckMessage]:
    """They come together as ``callboard.APPS``."""
    needed = ("rest_framework", "drf_spectacular_sidecar", "tasks", "dlq", "django_dramatiq")
    missing = [name for name in needed if not apps.is_installed(name)]
    return [
        Error(f"INSTALLED_APPS lacks {name}.", hint="Add *callboard.APPS.", id="callboard.E015") for name in missing
    ]


@register()
def check_times(**_: Any) -> list[CheckMessage]:
    """Times without a zone would be read as those of one zone here and of another there."""
    if settings.USE_TZ:
        return []
    return [Error("USE_TZ is False, but tasks are due at moments, not at readings of a clock.",
                  hint="Set USE_TZ = True.", id="callboard.E016")]  # fmt: skip


@register(Tags.templates)
def check_templates(**_: Any) -> list[CheckMessage]:
    """The admin's pages of Callboard are templates of its apps."""
    try:
        get_template("callboard/read_only_list.html")
    except TemplateDoesNotExist:
        return [
            Error(
                "TEMPLATES finds no templates of installed apps.",
                hint="Set APP_DIRS to True, or name the app_directories loader.",
                id="callboard.E017",
            )
        ]
    return []


@register(Tags.urls)
def check_urls(**_: Any) -> list[CheckMessage]:
    """Without URLs there is no API, and no probe for orchestrators."""
    try:
        reverse("api-tasks")
        reverse("api-dlq")
    except NoReverseMatch:
        return [
            Caution(
                "The API of Callboard has no URLs.",
                hint=f'Add path("callboard/", include("callboard.urls")) to the URLs ({_PAGE}).',
                id="callboard.W003",
            )
        ]
    return []


@register()
def check_request_middleware(**_: Any) -> list[CheckMessage]:
    """It gives requests a trace id, and all errors of the API their one format."""
    classes = [import_string(name) for name in settings.MIDDLEWARE]
    if any(isinstance(one, type) and issubclass(one, RequestMiddleware) for one in classes):
        return []
    return [
        Caution(
            "MIDDLEWARE lacks tasks.api.middleware.RequestMiddleware.",
            hint="Make it the first: tasks of a request get its trace id, and errors of the API are all problem+json.",
            id="callboard.W004",
        )
    ]
