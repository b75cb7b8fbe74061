"""Private PostgreSQL and Redis servers: on the loopback interface, with random passwords, ending with this process.

``manage.py up``, tests and benchmarks use them. As root, servers run under an account with few rights, which must be
able to enter their folder: ``accounts.temporary_folder()``.
"""

import contextlib
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg2
import redis

from scheduler_site.embedded.accounts import account_for, give
from scheduler_site.embedded.errors import LaunchError
from scheduler_site.embedded.processes import CLEAN_ENVIRONMENT, end_leftover, spawn
from scheduler_site.embedded.programs import find_postgres, find_redis
from scheduler_site.embedded.server import Server, one_line, read_number

HOW_TO_GET_REDIS = "apt install redis-server (or valkey-server), or set BROKER_URL"

#: PostgreSQL settings for tests only: a crash of the machine may cost the data.
FAST_AND_LOOSE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


# For data of a time when clients connected as the superuser. Sequences and indexes go with their tables.
_HAND_OVER = """
ALTER SCHEMA public OWNER TO {role};
DO $$
DECLARE relation regclass;
BEGIN
    FOR relation IN
        SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
        AND relowner <> '{role}'::regrole
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {role}', relation);
    END LOOP;
END $$
"""


class PostgresServer(Server):
    """A private PostgreSQL; its folder holds data, password and log.

    Parameters:
        folder: made by ``accounts.servers_folder`` or ``accounts.temporary_folder``.
        port: by default a free one, chosen at the first start.
        settings: in addition to the defaults, as in postgresql.conf.
    """

    title = "PostgreSQL"
    # "Fast shutdown": rolls running transactions back and leaves the data clean.
    gentle = signal.SIGINT
    # "Immediate shutdown": the next start recovers, as after a crash.
    abrupt = signal.SIGQUIT

    #: Name of the superuser and of the database.
    name = "callboard"
    #: The role that clients connect as: the owner of the database, without further rights.
    role = "callboard_app"

    def __init__(self, folder: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, port=port)
        self.data = folder / "postgres"
        self.settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "128MB",
            **(settings or {}),
        }

    @property
    def url(self) -> str:
        """``postgres://…`` with everything that a client needs."""
        return self._url_of(self.name, role=self.role)

    @property
    def superuser_url(self) -> str:
        """The same database as the superuser; for what a server's operator does."""
        return self._url_of(self.name, role=self.name)

    def start(self) -> str:
        """Start the server, with a new data folder if there is none; return its URL.

        Raises:
            LaunchError: no PostgreSQL, data of another version, or damaged data.
        """
        postgres = find_postgres(store=self.folder, account=self.account, major=self._major_of_data())
        self.version = ".".join(map(str, postgres.version))
        if not self.data.exists():
            self._initialise(postgres.path.with_name("initdb"))
        self._end_leftover()
        self._run(postgres.path)
        self._make_database()
        return self.url

    def _command(self, program: Path) -> Sequence[str | Path]:
        settings = {**self.settings, "port": str(self.port)}
        return [program, "-D", self.data, *(f"--{name}={value}" for name, value in settings.items())]

    def _is_ready(self) -> bool:
        lines = self._pid_file_lines()
        return len(lines) > 7 and lines[0].strip() == str(self.pid) and lines[7].strip() == "ready"

    def _may_work_next_time(self, log: str, *, port_is_fixed: bool) -> bool:
        if "shared memory block" in log:
            # Backends of a killed postmaster still run; each of them ends within a moment.
            time.sleep(0.5)
            return True
        return super()._may_work_next_time(log, port_is_fixed=port_is_fixed)

    def _advice(self) -> str:
        return f"; restore {self.data}, or move it away to start afresh"

    def _major_of_data(self) -> int | None:
        """Return the version that wrote the data; None if there is no data yet."""
        if not self.data.exists():
            return None
        major = read_number(self.data / "PG_VERSION")
        if major is None:
            raise LaunchError(f"PostgreSQL's data is damaged: PG_VERSION is missing{self._advice()}")
        return major

    def _initialise(self, initdb: Path) -> None:
        """Make the data folder beside its final place, so that an interrupted run leaves none that is half made."""
        unfinished = self.folder / "postgres.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file = self._password_file(self.name)
        self._choose_password(password_file)
        command: list[str | Path] = [
            *(initdb, "--pgdata", unfinished, "--username", self.name, "--pwfile", password_file),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--data-checksums"),
            *(["--no-sync"] if self.settings.get("fsync") == "off" else []),
        ]
        with self._fresh_log() as output:
            process = spawn(command, output=output, env=CLEAN_ENVIRONMENT, account=self.account)
        if process.wait():
            raise LaunchError(f"PostgreSQL cannot make its data folder: {self._last_error()} (log: {self.log})")
        unfinished.rename(self.data)

    def _end_leftover(self) -> None:
        """End the server of a crashed run, and remove its pid file, whose id may belong to another process by now."""
        pid_file = self.data / "postmaster.pid"
        if pid := read_number(pid_file):
            end_leftover(pid, folder=self.data, number=self.gentle)
        pid_file.unlink(missing_ok=True)

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _make_database(self) -> None:
        try:
            with self._cursor("postgres") as cursor:
                cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [self.role])
                if cursor.fetchone() is None:
                    self._choose_password(self._password_file(self.role))
                    cursor.execute(f"CREATE ROLE {self.role} LOGIN PASSWORD %s", [self._password(self.role)])
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", [self.name])
                if cursor.fetchone() is None:
                    cursor.execute(f"CREATE DATABASE {self.name}")
                cursor.execute(f"ALTER DATABASE {self.name} OWNER TO {self.role}")
            with self._cursor(self.name) as cursor:
                cursor.execute(_HAND_OVER.format(role=self.role))
        except psycopg2.Error as error:
            self.stop()
            raise LaunchError(f"PostgreSQL started but does not answer: {one_line(str(error))}") from error

    @contextlib.contextmanager
    def _cursor(self, database: str) -> Iterator[Any]:
        url = self._url_of(database, role=self.name)
        with contextlib.closing(psycopg2.connect(url, connect_timeout=10)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor

    def _url_of(self, database: str, *, role: str) -> str:
        return f"postgres://{role}:{self._password(role)}@127.0.0.1:{self.port}/{database}"

    def _password_file(self, role: str) -> Path:
        return self.folder / ("password" if role == self.name else f"password.{role}")

    def _choose_password(self, path: Path) -> None:
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
        give(path, self.account)

    def _password(self, role: str) -> str:
        path = self._password_file(role)
        try:
            return path.read_text().strip()
        except OSError:
            raise LaunchError(f"{path} is missing; restore it, or move {self.data} away") from None


class RedisServer(Server):
    """A private Redis or Valkey, by default in memory only.

    Parameters:
        folder: made by ``accounts.servers_folder`` or ``accounts.temporary_folder``.
        port: by default a free one, chosen at the first start.
        persistent: whether to keep an append-only file.
    """

    title = "Redis"
    gentle = signal.SIGTERM
    abrupt = signal.SIGKILL

    def __init__(self, folder: Path, *, port: int | None = None, persistent: bool = False) -> None:
        super().__init__(folder, port=port)
        self.data = folder / "redis"
        self.persistent = persistent
        self._password = secrets.token_urlsafe(24)

    @classmethod
    def is_available(cls, folder: Path) -> bool:
        """Tell whether a program exists that servers in this folder can run."""
        return find_redis(store=folder, account=account_for(folder)) is not None

    @property
    def url(self) -> str:
        """``redis://…`` with everything that a client needs."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def start(self) -> str:
        """Start the server, empty unless it is persistent; return its URL.

        Raises:
            LaunchError: no Redis was found, or it cannot read its data.
        """
        program = find_redis(store=self.folder, account=self.account)
        if program is None:
            raise LaunchError(f"no Redis found; {HOW_TO_GET_REDIS}")
        self.version = ".".join(map(str, program.version))
        self._make_folder(self.data)
        if pid := read_number(self._pid_file):
            end_leftover(pid, folder=self.data, number=self.gentle)
        self._run(program.path)
        self._pid_file.write_text(str(self.pid))
        return self.url

    def _command(self, program: Path) -> Sequence[str | Path]:
        return [program, "-"]

    def _input(self) -> bytes:
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self._password}",
            f'dir "{self.data}"',
            'save ""',
            f"appendonly {'yes' if self.persistent else 'no'}",
            # When memory is short, refusing messages is better than dropping some silently.
            "maxmemory-policy noeviction",
        ]
        return "\n".join(lines).encode() + b"\n"

    def _is_ready(self) -> bool:
        # Redis refuses this while it starts, and while it loads its data.
        with (
            contextlib.suppress(redis.ConnectionError, redis.TimeoutError),
            contextlib.closing(redis.Redis.from_url(self.url, socket_connect_timeout=1, socket_timeout=1)) as client,
        ):
            return bool(client.ping())
        return False

    @property
    def _pid_file(self) -> Path:
        return self.folder / "redis.pid"
