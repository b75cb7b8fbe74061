"""System checks: of database sessions, which it warns about when they are too few, and of the secret key."""

import inspect
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.checks import run_checks
from django.db import OperationalError, connection

from tasks import checks, project_checks
from tasks.checks import check_secret_key, sessions_that_do_not_fit
from tasks.conf import conf
from tasks.db.server import session_room
from tasks.django_tasks import backend
from tasks.models import Worker
from tasks.telemetry.health import Health
from tests.factories import let_lease_run_out, make_worker

MANAGE_CHECK = "from django.core.management import execute_from_command_line as run; run(['manage.py', 'check'])"

#: Sessions that are counted whether or not workers run.
ALWAYS = checks.SCHEDULER_SESSIONS + conf.API_THREADS + checks.API_SESSIONS


def ids(messages: Any) -> list[str]:
    return [message.id for message in messages if message.id == "callboard.W001"]


@pytest.fixture
def room(db: None, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> Any:
    """Set how many sessions the server has room for; no processes of this machine are seen."""
    settings.HEALTH_DIR = tmp_path
    return lambda count: monkeypatch.setattr(checks, "session_room", lambda: count)


def needed(processes: int, threads: int) -> int:
    return ALWAYS + checks.SUPERVISOR_SESSIONS + processes * (threads + checks.WORKER_SESSIONS)


def test_no_two_checks_share_an_id() -> None:
    sources = "".join(map(inspect.getsource, (checks, project_checks, backend)))
    found = re.findall(r'id="(callboard\.[A-Z]\d+)"', sources)
    assert found
    assert len(found) == len(set(found)), sorted(found)


def test_sessions_that_fit_give_no_warning_and_one_more_does(room) -> None:
    room(needed(2, 8))
    assert sessions_that_do_not_fit(processes=2, threads=8) == []
    room(needed(2, 8) - 1)
    (warning,) = sessions_that_do_not_fit(processes=2, threads=8)
    assert warning.id == "callboard.W001"
    assert f"need {needed(2, 8)} sessions of PostgreSQL, which has {needed(2, 8) - 1}" in warning.msg
    assert warning.hint


def test_workers_of_other_machines_count_and_workers_that_are_replaced_here_do_not(room) -> None:
    here, there, gone = make_worker(threads=4), make_worker(threads=5), make_worker(threads=6)
    Worker.objects.filter(pk=there.pk).update(host="elsewhere")
    Worker.objects.filter(pk=gone.pk).update(host="elsewhere")
    let_lease_run_out(gone)
    room(needed(2, 0) + 5 + 8)
    assert sessions_that_do_not_fit(processes=1, threads=8) == []
    room(needed(2, 0) + 5 + 8 - 1)
    assert ids(sessions_that_do_not_fit(processes=1, threads=8)) == ["callboard.W001"]
    assert here.host != "elsewhere"


def test_grpc_servers_of_this_machine_count(room) -> None:
    server = Health("grpc", components=dict)
    need = ALWAYS + conf.GRPC_THREADS + checks.API_SESSIONS
    room(need - 1)
    assert ids(sessions_that_do_not_fit(processes=0, threads=0)) == []
    server.serve()
    try:
        (warning,) = sessions_that_do_not_fit(processes=0, threads=0)
        assert "1 gRPC servers" in warning.msg
        room(need)
        assert sessions_that_do_not_fit(processes=0, threads=0) == []
    finally:
        server.stop()


def test_check_counts_live_workers_when_it_may_ask_the_database(room) -> None:
    make_worker(threads=4)
    room(needed(1, 4) - 1)
    assert ids(run_checks(databases=["default"])) == ["callboard.W001"]
    room(needed(1, 4))
    assert ids(run_checks(databases=["default"])) == []


def test_checks_do_not_ask_the_database_otherwise(room, django_assert_num_queries) -> None:
    room(0)
    with django_assert_num_queries(0):
        assert ids(run_checks()) == []


def test_the_room_is_the_servers_limit_less_reserved_sessions(transactional_db) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        )
        (most,) = cursor.fetchone()
    assert session_room() == most


def test_the_room_is_at_most_the_databases_limit(transactional_db) -> None:
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 9")
        try:
            assert session_room() == 9
        finally:
            cursor.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")


def test_a_database_that_is_away_gives_no_warning(db, monkeypatch) -> None:
    def away() -> int:
        raise OperationalError("away")

    monkeypatch.setattr(checks, "session_room", away)
    assert sessions_that_do_not_fit(processes=99, threads=99) == []


@pytest.fixture
def served(monkeypatch) -> None:
    """Make it look as if no test ran."""
    monkeypatch.delattr(mail, "outbox")


def test_the_tests_of_a_fresh_project_start_with_the_key_that_django_made(settings) -> None:
    settings.SECRET_KEY = "django-insecure-abcdefghijklmnopqrstuvwxyz0123456789"
    assert not settings.DEBUG
    assert check_secret_key() == []


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("x", "has 1 characters"),
        ("abcdefghijklmnopqrstuvwxyz01234", "has 31 characters"),
        ("a" * 64, "has only 1 different characters"),
        ("1234567" * 8, "has only 7 different characters"),
        ("django-insecure-abcdefghijklmnopqrstuvwxyz0123456789", 'begins with "django-insecure-"'),
    ],
)
def test_a_weak_secret_key_is_an_error_that_says_how_to_make_one(settings, served, key: str, fault: str) -> None:
    settings.SECRET_KEY = key
    (error,) = [error for error in run_checks() if error.id == "callboard.E003"]
    assert error.msg.startswith(f"SECRET_KEY {fault}")
    assert "secrets.token_urlsafe" in str(error.hint)
    settings.DEBUG = True
    assert check_secret_key() == []


@pytest.mark.parametrize("make", [lambda: secrets.token_hex(16), lambda: secrets.token_urlsafe(50)])
def test_a_random_secret_key_is_taken(settings, served, make: Any) -> None:
    settings.SECRET_KEY = make()
    assert check_secret_key() == []


@pytest.mark.parametrize(
    ("program", "key", "message"),
    [
        ("import scheduler_site.wsgi", "x", "SECRET_KEY has 1 characters"),
        ("import scheduler_site.wsgi", "", "The SECRET_KEY setting must not be empty"),
        (MANAGE_CHECK, "x", "SECRET_KEY has 1 characters"),
    ],
)
def test_nothing_starts_with_a_weak_secret_key(program: str, key: str, message: str) -> None:
    variables = {**os.environ, "SECRET_KEY": key, "DJANGO_SETTINGS_MODULE": "scheduler_site.settings"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=variables, cwd=conf.BASE_DIR, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert message in done.stderr
