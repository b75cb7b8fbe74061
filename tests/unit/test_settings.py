"""Settings: which values are accepted, which are refused, and that the example file shows all of them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from scheduler_site import addresses, env, settings
from scheduler_site.no_database import base as no_database
from tasks import __version__

ROOT = Path(__file__).resolve().parents[2]


def load_settings(expression: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Evaluate an expression over the settings in a process with only this environment."""
    program = f"from django.conf import settings; print({expression})"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"DJANGO_SETTINGS_MODULE": "scheduler_site.settings", "ENV_FILE": os.devnull, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_example_file_shows_every_knob() -> None:
    assert settings.DATABASES  # read, so all knobs are known
    shown = set(re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.M))
    aliases = {name for name in env.SETTINGS if name.startswith(("POSTGRES_", "REDIS_")) and name != "REDIS_URL"}
    assert shown == env.SETTINGS - aliases - {"RABBITMQ_URL", "ENV_FILE", "BUNDLED_HOSTS"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DEBUG", "maybe", "DEBUG: expected true or false, got 'maybe'."),
        ("LOG_LEVEL", "loud", "expected one of DEBUG, INFO, WARNING, ERROR, CRITICAL, got 'loud'."),
        ("DEFAULT_PRIORITY", "11", "DEFAULT_PRIORITY: expected a whole number from 1 to 10, got '11'."),
        ("DEFAULT_MAX_RETRIES", "2.5", "expected a whole number of at least 0, got '2.5'."),
        ("FORCE_SCRIPT_NAME", "board", "FORCE_SCRIPT_NAME: expected a path such as /board, got 'board'."),
        ("SHUTDOWN_GRACE_SECONDS", "nan", "expected a number of seconds, at least 0, got 'nan'."),
        ("DATABASE_URL", "sqlite:///db", "Callboard runs on PostgreSQL only; expected postgres://"),
        ("DATABASE_URL", "postgres://host", "expected a database name after the last /"),
        ("BROKER_URL", "amqp://u:p@host/a/b", "BROKER_URL: expected one / before the virtual host"),
        (
            "BROKER_URL",
            "amqp://u:p@host?ssl=1",
            "BROKER_URL: RabbitMQ's URL has no option 'ssl'; it takes",
        ),
        ("BROKER_URL", "amqp://host?verify=verify_none", "BROKER_URL: expected amqps://, that is TLS, with the option"),
        ("BROKER_URL", "amqps://host?verify=maybe", "BROKER_URL: expected verify_peer or verify_none in the option"),
        ("BROKER_URL", "amqp://host?heartbeat=often", "BROKER_URL: expected whole seconds in the option heartbeat"),
        ("BROKER_URL", "amqp:///vhost", "BROKER_URL: expected amqp://user:password@host:5672/vhost, or amqps:// (TLS)"),
        ("RABBITMQ_URL", "redis://host", "RABBITMQ_URL: expected amqp://user:password@host:5672/vhost, or amqps://"),
        ("RABBITMQ_QUEUE_TYPE", "lazy", "RABBITMQ_QUEUE_TYPE: expected one of classic, quorum, got 'lazy'."),
        (
            "REDIS_URL",
            "http://host",
            "REDIS_URL: expected redis://, rediss:// (TLS), redis+sentinel://, unix:///path or inprocess://, got http://.",
        ),
        ("BROKER_URL", "redis+sentinel://a:1,b:2", "BROKER_URL: expected redis+sentinel://host:port,host:port/service"),
        ("BROKER_URL", "redis+sentinel://a:x/main", "BROKER_URL: "),
        (
            "POSTGRES_USER",
            "me",
            "POSTGRES_USER is set, but the server's address is not: set POSTGRES_HOST or DATABASE_URL",
        ),
        ("REDIS_DB", "2", "REDIS_DB is set, but the server's address is not: set REDIS_HOST or BROKER_URL as well."),
    ],
)
def test_a_wrong_value_is_refused_with_the_right_ones(name: str, value: str, message: str) -> None:
    answer = load_settings("settings.DEBUG", **{name: value})
    assert message in answer.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("postgresql+psycopg2://u:p@h:1/db", "postgres://u:p@h:1/db"),
        ("postgresql://u@h/db", "postgres://u@h/db"),
        ("postgres://u@h/db?sslmode=require", "postgres://u@h/db?sslmode=require"),
    ],
)
def test_other_spellings_of_a_postgresql_url(monkeypatch: pytest.MonkeyPatch, given: str, understood: str) -> None:
    monkeypatch.setenv("DATABASE_URL", given)
    assert addresses.database_url("DATABASE_URL") == understood


def test_parts_make_a_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOST": "db", "PORT": "5433", "USER": "me", "PASSWORD": "p@ss/word", "DB": "app"}.items():
        monkeypatch.setenv(f"POSTGRES_{name}", value)
    url = addresses.database_url_from_parts()
    assert url == "postgres://me:p%40ss%2Fword@db:5433/app"
    assert addresses.database_settings(url, max_age_seconds=0)["PASSWORD"] == "p@ss/word"


def test_the_build_is_the_one_that_the_platform_names_unless_it_is_set() -> None:
    assert load_settings("settings.BUILD").stdout.strip() == __version__
    assert load_settings("settings.BUILD", RENDER_GIT_COMMIT="a1b2c3").stdout.strip() == "a1b2c3"
    assert load_settings("settings.BUILD", GIT_COMMIT="d4", RENDER_GIT_COMMIT="a1").stdout.strip() == "d4"
    assert load_settings("settings.BUILD", BUILD="v7", GIT_COMMIT="d4").stdout.strip() == "v7"
    refused = load_settings("settings.BUILD", BUILD="x" * 101).stderr
    assert "BUILD: expected text of at most 100 characters, got" in refused


def test_redis_parts_make_a_broker_url() -> None:
    answer = load_settings("settings.BROKER_URL", REDIS_HOST="cache", REDIS_PASSWORD="s#cret", REDIS_DB="2")
    assert answer.stdout.strip() == "redis://:s%23cret@cache:6379/2"


def test_redis_may_be_behind_sentinels() -> None:
    url = "redis+sentinel://:secret@a:1,b:2/main"
    answer = load_settings("settings.BROKER_URL, settings.REDIS_URL", BROKER_URL=url)
    assert answer.stdout.split() == [url, url]


def test_rabbitmq_is_the_broker_and_redis_holds_the_limits() -> None:
    urls = {"RABBITMQ_URL": "amqp://guest:guest@rabbitmq/", "REDIS_URL": "redis://r"}
    answer = load_settings("settings.BROKER_URL, settings.REDIS_URL", **urls)
    assert answer.stdout.split() == ["amqp://guest:guest@rabbitmq", "redis://r"]
    alone = load_settings("settings.BROKER_URL, repr(settings.REDIS_URL)", BROKER_URL="amqps://a,b:1/shop")
    assert alone.stdout.split() == ["amqps://a,b:1/shop", "''"]


def test_redis_url_alone_is_the_broker() -> None:
    assert load_settings("settings.BROKER_URL", REDIS_URL="rediss://r").stdout.strip() == "rediss://r"


@pytest.mark.parametrize(("ours", "theirs"), [*env.ALSO_CALLED.items(), *env.FORMER_NAMES.items()])
def test_other_names_of_a_knob_are_understood_where_ours_is_not_set(ours: str, theirs: str) -> None:
    assert load_settings(f"settings.{ours}", **{theirs: "30"}).stdout.strip() == "30"
    assert load_settings(f"settings.{ours}", **{theirs: "30", ours: "31"}).stdout.strip() == "31"
    if ours != "WORKER_NAME":
        assert f"{ours}: expected a " in load_settings("settings.DEBUG", **{theirs: "30s"}).stderr


def test_a_block_of_another_stack_is_judged_whole() -> None:
    block = {
        "DEBUG": "maybe",
        "GRPC_PORT": "grpc",
        "CORS_ALLOW_CREDENTIALS": "true",
        "DATABASE_URL": "mysql://u:secret@h/db",
        "BROKER_URL": "http://cache",
        "POSTGRES_PORT": "x",
        "WORKER_CONCURRENCY": "many",
        "HEARTBEAT_INTERVAL": "30",
    }
    told = load_settings("settings.DEBUG", **block).stderr
    lines = told[told.index("django.core.exceptions.ImproperlyConfigured: ") :].splitlines()
    for name in ("GRPC_PORT", "CORS_ALLOW_CREDENTIALS", "DEBUG", "DATABASE_URL", "BROKER_URL", "WORKER_THREADS"):
        assert sum(f"{name}" in line for line in lines) == 1, name
    assert len(lines) == 6
    assert "secret" not in told


def test_the_block_of_the_rest_and_grpc_stack_is_understood() -> None:
    block = {
        "DATABASE_URL": "postgresql://user:password@localhost:5432/job_scheduler",
        "REDIS_HOST": "localhost",
        "REDIS_PORT": "6379",
        "REDIS_DB": "0",
        "REDIS_PASSWORD": "",
        "API_HOST": "0.0.0.0",  # noqa: S104 - it is theirs
        "API_PORT": "8000",
        "GRPC_PORT": "50052",
        "WORKER_CONCURRENCY": "10",
        "WORKER_POOL_SIZE": "4",
        "DEFAULT_MAX_RETRIES": "3",
        "DEFAULT_TIMEOUT_SECONDS": "300",
        "JOB_TTL_SECONDS": "86400",
        "LOG_LEVEL": "INFO",
    }
    names = "BROKER_URL", "API_HOST", "GRPC_PORT", "WORKER_THREADS", "WORKER_PROCESSES", "KEEP_SUCCEEDED_SECONDS"
    answer = load_settings(", ".join(f"settings.{name}" for name in names), **block)
    assert answer.stdout.split() == ["redis://localhost:6379/0", block["API_HOST"], "50052", "10", "4", "86400"]


def test_a_long_interval_of_heartbeats_makes_the_lease_longer() -> None:
    assert load_settings("settings.WORKER_LEASE_SECONDS", HEARTBEAT_INTERVAL="30").stdout.strip() == "90"
    assert load_settings("settings.WORKER_LEASE_SECONDS", HEARTBEAT_INTERVAL="3").stdout.strip() == "15"


def test_apps_and_middleware_are_added_without_editing_the_settings() -> None:
    answer = load_settings(
        "settings.INSTALLED_APPS[-2:], settings.DRAMATIQ_MIDDLEWARE",
        ACTOR_APPS="shop, billing",
        DRAMATIQ_MIDDLEWARE="a.B",
    )
    assert answer.stdout.strip() == "['shop', 'billing'] ['a.B']"


@pytest.mark.parametrize("theirs", env.NOT_A_SETTING)
def test_a_foreign_setting_is_refused_with_its_replacement(theirs: str) -> None:
    refused = load_settings("settings.DEBUG", **{theirs: "1"}).stderr.splitlines()[-1]
    assert f"{theirs} is not a setting of Callboard, remove it: {env.NOT_A_SETTING[theirs]}." in refused
    assert load_settings("settings.DEBUG", **{theirs: ""}).stdout.strip() == "False"


def test_a_refused_setting_is_one_line_without_a_traceback() -> None:
    command = [sys.executable, "manage.py", "check"]
    answer = subprocess.run(
        command,
        env={"ENV_FILE": os.devnull, "CORS_ALLOW_CREDENTIALS": "true"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        (
            "CORS_ALLOW_CREDENTIALS is not a setting of Callboard, remove it: "
            "web pages of other origins send a token, and never a cookie."
        )
    ]


def test_parts_of_an_address_do_not_matter_beside_a_url() -> None:
    parts = {"POSTGRES_USER": "me", "POSTGRES_PASSWORD": "x", "REDIS_PORT": "tcp://10.0.0.1:6379"}
    urls = {"DATABASE_URL": "postgresql://u@h/db", "BROKER_URL": "redis://r/3"}
    answer = load_settings("settings.DATABASE_URL, settings.BROKER_URL", **parts, **urls)
    assert answer.stdout.strip() == "postgres://u@h/db redis://r/3"


def test_an_error_never_quotes_a_password() -> None:
    with pytest.raises(ImproperlyConfigured) as error:
        addresses.database_settings("postgres://user:se@cret@host", max_age_seconds=0)
    assert "cret" not in str(error.value)


def test_empty_counts_as_not_set() -> None:
    assert load_settings("settings.DEFAULT_PRIORITY", DEFAULT_PRIORITY="").stdout.strip() == "5"


def test_without_a_database_each_command_that_needs_one_says_what_to_set() -> None:
    connection = no_database.DatabaseWrapper({"OPTIONS": {}})
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL is not set; expected postgres://"):
        connection.get_connection_params()


def test_a_file_sets_the_variables_that_the_environment_does_not(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("DEFAULT_PRIORITY=7\nCRASH_LIMIT=9\n")
    answer = load_settings("settings.DEFAULT_PRIORITY, settings.CRASH_LIMIT", ENV_FILE=str(file), DEFAULT_PRIORITY="2")
    assert answer.stdout.strip() == "2 9"


def test_dramatiqs_own_defaults_can_be_had_together_and_single_ones_still_win() -> None:
    names = ["MAX_RETRIES", "MIN_BACKOFF_SECONDS", "MAX_BACKOFF_SECONDS", "TIME_LIMIT_SECONDS"]
    expression = "[" + ", ".join(f"settings.DEFAULT_{name}" for name in names) + "]"
    usual = {"DATABASE_URL": "postgres://db/app", "SECRET_KEY": "x"}
    assert load_settings(expression, **usual).stdout.strip() == "[3, 2, 3600, 300]"
    assert load_settings(expression, **usual, DRAMATIQ_DEFAULTS="true").stdout.strip() == "[20, 15, 604800, 600]"
    answer = load_settings(expression, **usual, DRAMATIQ_DEFAULTS="true", DEFAULT_MAX_RETRIES="7").stdout.strip()
    assert answer == "[7, 15, 604800, 600]"
