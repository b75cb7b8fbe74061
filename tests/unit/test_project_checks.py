"""What a project around Callboard lacks, and what it is told."""

from typing import Any

import dramatiq
import pytest
from django.apps import apps
from django.core.checks import CheckMessage
from django.db import connection
from dramatiq.brokers.stub import StubBroker

from tasks import project_checks

MIDDLEWARE = "tasks.api.middleware.RequestMiddleware"


def told(messages: list[CheckMessage]) -> tuple[str, str, str]:
    (one,) = messages
    return str(one.id), one.msg, str(one.hint)


def test_callboards_own_site_lacks_nothing() -> None:
    checks = [name for name in dir(project_checks) if name.startswith("check_")]
    assert len(checks) == 7
    assert [getattr(project_checks, name)() for name in checks] == [[]] * 7


def test_another_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "sqlite")
    id, message, hint = told(project_checks.check_database())
    assert (id, message) == ("callboard.E011", "DATABASES['default'] is sqlite, but Callboard runs on PostgreSQL only.")
    assert "PostgreSQL 14" in hint


def test_another_driver_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_checks, "is_psycopg3", True)
    id, _, hint = told(project_checks.check_database())
    assert (id, "Remove the package psycopg" in hint) == ("callboard.E012", True)


class Elsewhere:
    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "other"


def test_a_router_must_leave_the_tables_in_the_default_database(settings) -> None:
    settings.DATABASE_ROUTERS = [Elsewhere()]
    assert told(project_checks.check_database())[:2] == (
        "callboard.E013",
        "DATABASE_ROUTERS send Callboard's tables to the database 'other'.",
    )


def test_another_broker_is_refused_with_the_setting_to_remove(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dramatiq, "get_broker", lambda: StubBroker(middleware=[]))
    id, message, hint = told(project_checks.check_broker())
    assert (id, message) == ("callboard.E014", "Dramatiq's broker is StubBroker, not Callboard's.")
    assert "Remove DRAMATIQ_BROKER" in hint


def test_a_missing_app_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "dlq")
    assert told(project_checks.check_apps()) == ("callboard.E015", "INSTALLED_APPS lacks dlq.", "Add *callboard.APPS.")


def test_times_need_zones(settings) -> None:
    settings.USE_TZ = False
    assert told(project_checks.check_times())[0] == "callboard.E016"


def test_templates_of_apps_are_needed(settings) -> None:
    settings.TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
    assert told(project_checks.check_templates())[0] == "callboard.E017"


@pytest.mark.urls("tests.unit.no_urls")
def test_missing_urls_are_told_with_the_line_to_add() -> None:
    id, _, hint = told(project_checks.check_urls())
    assert (id, 'path("callboard/", include("callboard.urls"))' in hint) == ("callboard.W003", True)


def test_the_middleware_is_missed(settings) -> None:
    settings.MIDDLEWARE = ["django.middleware.security.SecurityMiddleware"]
    assert told(project_checks.check_request_middleware())[:2] == (
        "callboard.W004",
        "MIDDLEWARE lacks tasks.api.middleware.RequestMiddleware.",
    )
    settings.MIDDLEWARE = [MIDDLEWARE]
    assert project_checks.check_request_middleware() == []
