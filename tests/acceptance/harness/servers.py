"""A PostgreSQL for the session, with a fresh database for each test, and a Redis for each test."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from scheduler_site.embedded.programs import Program
from scheduler_site.embedded.servers import FAST_AND_LOOSE, PostgresServer

ROOT = Path(__file__).resolve().parents[3]

# Records each change of a status, whatever makes it. The checker compares it with the rules of tasks.lifecycle.
_MOVE_LOG = """
CREATE TABLE move_log (
    id bigserial PRIMARY KEY, at timestamptz NOT NULL, task_id uuid NOT NULL, before text, after text NOT NULL,
    dispatch integer NOT NULL, attempt integer NOT NULL, run_at timestamptz NOT NULL
);
CREATE FUNCTION write_move_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO move_log (at, task_id, before, after, dispatch, attempt, run_at)
        VALUES (clock_timestamp(), NEW.id, NULL, NEW.status, NEW.dispatch, NEW.attempt, NEW.run_at);
    ELSIF NEW.status <> OLD.status THEN
        INSERT INTO move_log (at, task_id, before, after, dispatch, attempt, run_at)
        VALUES (clock_timestamp(), NEW.id, OLD.status, NEW.status, NEW.dispatch, NEW.attempt, NEW.run_at);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER write_move_log AFTER INSERT OR UPDATE OF status ON callboard_task
FOR EACH ROW EXECUTE FUNCTION write_move_log();
"""


class SystemPostgresServer(PostgresServer):
    """The PostgreSQL of the operating system's packages, not the wheel's."""

    @staticmethod
    def programs() -> list[Path]:
        """List the installed versions, the newest last."""
        return sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))

    def start(self) -> str:
        """Start it; see ``PostgresServer``."""
        path = self.programs()[-1]
        found = Program(path, (int(path.parts[-3]),))
        with mock.patch("scheduler_site.embedded.servers.find_postgres", return_value=found):
            return super().start()


class Databases:
    """Databases of one server, each a copy of a template that is migrated once."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._made = 0
        _migrate(server.url)
        execute(server.url, _MOVE_LOG)

    @contextlib.contextmanager
    def fresh(self) -> Iterator[str]:
        """Yield the URL of an empty database with all tables, and drop it afterwards."""
        self._made += 1
        name = f"stage_{self._made}"
        owner, template = PostgresServer.role, PostgresServer.name
        execute(self._admin_url, f"CREATE DATABASE {name} OWNER {owner} TEMPLATE {template} STRATEGY FILE_COPY")
        yield _with_path(self.server.url, name)
        execute(self._admin_url, f"DROP DATABASE {name} WITH (FORCE)")

    @property
    def _admin_url(self) -> str:
        return _with_path(self.server.superuser_url, "postgres")


def start_postgres(folder: Path, *, kind: type[PostgresServer] = PostgresServer) -> PostgresServer:
    """Start a fast server, which may lose data in a power cut but not when it is killed."""
    server = kind(folder, settings={**FAST_AND_LOOSE, "synchronous_commit": "on"})
    server.start()
    return server


def execute(url: str, statement: str) -> None:
    """Run a statement on its own connection."""
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


def _migrate(url: str) -> None:
    variables = {
        "DATABASE_URL": url,
        "BROKER_URL": "inprocess://",
        "SECRET_KEY": "stage-key-of-32-characters-or-more",
        "ENV_FILE": os.devnull,
    }
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env={"PATH": os.environ["PATH"], **variables}, check=True)


def _with_path(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
