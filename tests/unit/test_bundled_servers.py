"""The ``.env`` of another system beside docker-compose.yml: it means compose's servers, its own, or is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler_site import bundled_servers
from tests.containers import ROOT, compose

BUNDLED = compose()["services"]["api"]["environment"]["BUNDLED_HOSTS"]
DATABASE = "postgres://callboard:made@postgres:5432/callboard"
REDIS = "redis://:made@redis:6379/0"
RABBITMQ = "amqp://callboard:made@rabbitmq:5672"

#: As people bring them: s0 to s4, each with its own names and habits.
BLOCKS = {
    "FastAPI + Redis": "DATABASE_URL=postgresql://postgres:postgres@postgres:5432/tasks\nREDIS_URL=redis://redis:6379/0",
    "FastAPI + Celery": "POSTGRES_USER=app\nPOSTGRES_PASSWORD=app\nPOSTGRES_DB=app\nSTUCK_AFTER_SEC=180\n"
    "DATABASE_URL=postgresql+psycopg2://app:app@postgres:5432/app\nREDIS_URL=redis://redis:6379/0",
    "REST + gRPC": "DATABASE_URL=postgresql://user:password@postgres:5432/scheduler\nREDIS_HOST=redis\nREDIS_PORT=6379\n"
    "REDIS_DB=0\nREDIS_PASSWORD=\nAPI_HOST=0.0.0.0\nAPI_PORT=8000\nGRPC_PORT=50051\nWORKER_CONCURRENCY=4\n"
    "WORKER_POOL_SIZE=1\nDEFAULT_MAX_RETRIES=3\nDEFAULT_TIMEOUT_SECONDS=300\nJOB_TTL_SECONDS=86400\nLOG_LEVEL=INFO",
    "RabbitMQ workers": "RABBITMQ_URL=amqp://guest:guest@rabbitmq:5672/\nREDIS_URL=redis://redis:6379/0\n"
    "API_HOST=0.0.0.0\nAPI_PORT=8000\nWORKER_ID=worker-1\nHEARTBEAT_INTERVAL=30\nLOG_LEVEL=INFO",
    "Go": "DATABASE_URL=postgres://scheduler:scheduler@postgres:5432/scheduler?sslmode=disable\nREDIS_URL=redis:6379",
}


@pytest.fixture
def made(tmp_path: Path) -> str:
    """Give the file that ``makesecrets`` has made."""
    file = tmp_path / "callboard.env"
    file.write_text(
        f"SECRET_KEY=k\nDATABASE_URL={DATABASE}\nBROKER_URL={REDIS}\nREDIS_URL={REDIS}\nRABBITMQ_URL={RABBITMQ}\n"
    )
    return str(file)


def addresses(file: str, block: str) -> list[str]:
    """Give the database, the broker and the Redis of the limits, or the lines of the refusal."""
    program = "from scheduler_site import settings as s; print(s.DATABASE_URL, s.BROKER_URL, s.REDIS_URL, sep='\\n')"
    variables = dict(line.split("=", 1) for line in block.splitlines())
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env={"ENV_FILE": file, "BUNDLED_HOSTS": BUNDLED} | variables, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    lines = answer.stdout.splitlines() or answer.stderr.partition("ImproperlyConfigured: ")[2].splitlines()
    assert lines, answer.stderr
    return lines


@pytest.mark.parametrize("name", ["FastAPI + Redis", "FastAPI + Celery", "REST + gRPC"])
def test_addresses_of_compose_services_mean_these_with_the_logins_that_they_have(name: str, made: str) -> None:
    assert addresses(made, BLOCKS[name]) == [DATABASE, REDIS, REDIS]


def test_rabbitmq_carries_the_hints_of_those_who_name_it_and_redis_counts(made: str) -> None:
    assert addresses(made, BLOCKS["RabbitMQ workers"]) == [DATABASE, RABBITMQ, REDIS]


def test_without_a_file_of_theirs_nothing_changes(made: str) -> None:
    assert addresses(made, "LOG_LEVEL=INFO") == [DATABASE, REDIS, REDIS]


def test_an_address_that_is_not_understood_is_named(made: str) -> None:
    (line,) = addresses(made, BLOCKS["Go"])
    assert line.startswith("REDIS_URL: expected redis://")


def test_all_variables_that_are_this_container_itself_are_named_in_one_line(made: str) -> None:
    (line,) = addresses(
        made, "DATABASE_URL=postgres://a:b@localhost/c\nREDIS_HOST=127.0.0.1\nRABBITMQ_URL=amqp://[::1]/"
    )
    assert line.startswith("DATABASE_URL, RABBITMQ_URL, REDIS_HOST: expected a server that containers can reach")


def test_a_command_says_what_is_wrong_and_not_that_it_is_unknown(made: str) -> None:
    """Django reads settings that it could not read a second time."""
    answer = subprocess.run(
        [sys.executable, "manage.py", "prepare"], cwd=ROOT, capture_output=True, text=True,
        env={"ENV_FILE": made, "BUNDLED_HOSTS": BUNDLED, "DATABASE_URL": "postgres://a:b@localhost/c"},
    )  # fmt: skip
    assert answer.returncode == 1
    assert answer.stderr.startswith("DATABASE_URL: expected a server that containers can reach")


def test_every_variable_of_every_system_at_once_is_one_clear_refusal(made: str) -> None:
    everything = "\n".join(BLOCKS.values()) + "\nDATABASE_URL=sqlite:///jobs.db\nCORS_ALLOW_CREDENTIALS=true"
    lines = addresses(made, everything)
    assert [line.split()[0].rstrip(":") for line in lines] == ["CORS_ALLOW_CREDENTIALS", "DATABASE_URL", "REDIS_URL"]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("DATABASE_URL=postgres://a:b@db.example.org/c", ["postgres://a:b@db.example.org/c", REDIS, REDIS]),
        ("POSTGRES_HOST=db.example.org", ["postgres://postgres@db.example.org:5432/postgres", REDIS, REDIS]),
        ("REDIS_URL=redis://cache.example.org", [DATABASE, "redis://cache.example.org", "redis://cache.example.org"]),
        ("REDIS_HOST=cache", [DATABASE, "redis://cache:6379/0", "redis://cache:6379/0"]),
        ("BROKER_URL=redis://cache", [DATABASE, "redis://cache", "redis://cache"]),
        ("BROKER_URL=amqp://a:b@mq", [DATABASE, "amqp://a:b@mq", REDIS]),
        ("RABBITMQ_URL=amqp://a:b@mq", [DATABASE, "amqp://a:b@mq", REDIS]),
    ],
)
def test_a_server_of_their_own_is_used(made: str, block: str, expected: list[str]) -> None:
    assert addresses(made, block) == expected


def test_a_process_that_is_started_by_another_settles_nothing_again(made: str) -> None:
    """gunicorn starts its wait, and a supervisor its workers, with what it has read itself."""
    program = (
        "from scheduler_site import settings as s; import subprocess, sys; print(s.BROKER_URL, flush=True);"
        "subprocess.run([sys.executable, '-c', 'from scheduler_site import settings as s; print(s.BROKER_URL)'])"
    )
    text = Path(made).read_text()
    Path(made).write_text(text.replace("@rabbitmq:", "@127.0.0.1:"))
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True,
        env={"ENV_FILE": made, "BUNDLED_HOSTS": BUNDLED, "RABBITMQ_URL": "amqp://rabbitmq"},
    )  # fmt: skip
    assert answer.stdout.splitlines() == 2 * [RABBITMQ.replace("@rabbitmq:", "@127.0.0.1:")]


def test_outside_of_compose_nothing_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://localhost:6379")
    before = dict(os.environ)
    bundled_servers.settle([])
    assert dict(os.environ) == before
