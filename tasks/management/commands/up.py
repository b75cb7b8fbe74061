"""``manage.py up``: everything on one machine, with nothing to install by hand."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.request import urlopen

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from scheduler_site import env
from scheduler_site.embedded.children import Child, Children
from scheduler_site.embedded.errors import LaunchError
from scheduler_site.embedded.private import kept_secret, make_folder, only_one, read_pairs, write_pairs
from scheduler_site.embedded.processes import free_port, wait_for
from scheduler_site.embedded.sources import SourceWatch
from scheduler_site.embedded.stack import PrivateServers
from scheduler_site.embedded.trial import Trial, TrialError
from tasks import __version__
from tasks.conf import IN_PROCESS_URL, conf

HOST = "127.0.0.1"
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104
_LARGEST_PORT = 65_535
#: Smaller ports are reserved for the system.
_SMALLEST_FREE_PORT = 1024
_START_SECONDS = 60
#: How long the banner waits for a scheduler and a worker, so that its example runs at once.
_READY_SECONDS = 10
_TICK_SECONDS = 0.25
_RELOAD_TICKS = 4


class StopRequest(BaseException):
    """Ctrl-C or another request to stop; not an Exception, so that nothing handles it as an error."""


class Command(BaseCommand):
    help = "Start everything on this machine: PostgreSQL, Redis, api, gRPC, scheduler and workers. Ctrl-C stops it."
    # The checks would need the database, which is not started yet.
    requires_system_checks = []

    def get_version(self) -> str:
        return __version__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, help="the port of the api (default: API_PORT, 8000)")
        parser.add_argument("--grpc-port", type=int, help="the port of gRPC (default: GRPC_PORT, 50051)")
        parser.add_argument(
            "--demo", action="store_true", help="fill the stack, which must be empty, with the made-up day of a shop"
        )
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument(
            "--once", action="store_true", help="run a short end-to-end check, then stop; exit with 0 or 1"
        )
        mode.add_argument("--reload", action="store_true", help="restart when a file of this project changes")

    def handle(
        self,
        *args: Any,
        port: int | None,
        grpc_port: int | None,
        demo: bool,
        once: bool,
        reload: bool,
        **options: Any,
    ) -> None:
        self.is_demo = demo
        # A check may run beside another stack; a person who types an address needs a known port.
        self.port = (free_port() if once else conf.API_PORT) if port is None else _checked(port)
        self.grpc_port = (free_port() if once else conf.GRPC_PORT) if grpc_port is None else _checked(grpc_port)
        if once:
            # The check prints its own report, and one of its tasks fails on purpose.
            os.environ.setdefault("LOG_LEVEL", "CRITICAL")
        self.is_stopping = self.is_forced = self.is_held = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        try:
            with self._stack() as children:
                if not once:
                    self._watch(children, sources=SourceWatch(conf.BASE_DIR) if reload else None)
                self._try(children)
            self._say("Everything works.")
        except LaunchError as error:
            raise CommandError(str(error)) from error
        except StopRequest:
            if once:
                raise CommandError("stopped before the check was over") from None
            self._say("Stopped.")

    @contextmanager
    def _stack(self) -> Iterator[Children]:
        """Start the servers and processes; always stop them in the opposite order."""
        make_folder(conf.VAR_DIR)
        with ExitStack() as cleanup:
            cleanup.enter_context(only_one(conf.VAR_DIR / "up.lock"))
            _refuse_taken_port(conf.API_HOST, self.port, option="--port")
            _refuse_taken_port(conf.GRPC_HOST, self.grpc_port, option="--grpc-port")
            servers = PrivateServers(
                conf.BASE_DIR,
                var=conf.VAR_DIR,
                database=settings.PRIVATE_DATABASE,
                broker=settings.PRIVATE_BROKER,
            )
            self.servers = servers
            cleanup.callback(lambda: servers.stop(immediate=self.is_forced))
            environment = self._environment(servers.start())
            children = Children(
                env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
                cwd=conf.BASE_DIR,
                report=self._say,
                uninterrupted=self._held_signals,
            )
            cleanup.callback(children.stop, is_forced=lambda: self.is_forced)
            cleanup.callback(self._announce_stop, children)
            self._prepare(children)
            if self.is_demo:
                self._fill(children)
            found = {**environment, "API_URL": self._url()}
            cleanup.enter_context(_written(conf.VAR_DIR / "run.env", found))
            children.start(*self._processes(environment["BROKER_URL"]))
            self._wait_for_api(children)
            wait_for(
                lambda: _is_whole(f"{self._url()}/health") and _listens(self._grpc_address()), seconds=_READY_SECONDS
            )
            yield children

    def _environment(self, servers: Mapping[str, str]) -> dict[str, str]:
        """Give the variables that differ from the defaults while everything runs here; those already set stay."""
        return {
            "DATABASE_URL": settings.DATABASE_URL,
            "DIRECT_DATABASE_URL": settings.DIRECT_DATABASE_URL,
            "BROKER_URL": conf.BROKER_URL,
            "SECRET_KEY": os.environ.get("SECRET_KEY") or kept_secret(conf.VAR_DIR / "secret_key"),
            "HTTPS": os.environ.get("HTTPS") or "false",
            "BUILTIN_ACTORS": os.environ.get("BUILTIN_ACTORS") or "true",
            "ACTOR_APPS": ",".join([*filter(None, [os.environ.get("ACTOR_APPS")]), *_flows()]),
            # `prepare` migrates before anything else starts.
            "WAIT_SECONDS": os.environ.get("WAIT_SECONDS") or "0",
            **servers,
        }

    def _processes(self, broker_url: str) -> list[Child]:
        """List the processes in the order of stopping: no worker may take a task whose outcome could not be stored."""
        manage = [sys.executable, "manage.py"]
        patience = conf.SHUTDOWN_GRACE_SECONDS + 15
        gunicorn = [sys.executable, "-m", "gunicorn", "scheduler_site.wsgi", "--bind", f"{conf.API_HOST}:{self.port}"]
        quiet = ["--log-level", "warning", "--no-control-socket"]
        api = Child("api", [*gunicorn, "--threads", "4", "--graceful-timeout", "5", *quiet])
        grpc = Child("grpc", [*manage, "rungrpc", "--host", conf.GRPC_HOST, "--port", str(self.grpc_port)])
        if broker_url == IN_PROCESS_URL:
            return [Child("scheduler", [*manage, "runscheduler", "--with-workers"], patience), grpc, api]
        # Fewer than the settings' defaults, on a machine where others work too; what is set counts.
        workers = ["--processes", env.text("WORKER_PROCESSES", "2"), "--threads", env.text("WORKER_THREADS", "4")]
        return [
            Child("workers", [*manage, "runworkers", *workers], patience),
            Child("scheduler", [*manage, "runscheduler"]),
            grpc,
            api,
        ]

    def _prepare(self, children: Children) -> None:
        command = [sys.executable, "manage.py", "prepare", "--credentials", str(conf.VAR_DIR / "credentials")]
        try:
            children.run("prepare", command)
        except subprocess.CalledProcessError as error:
            raise LaunchError("the database could not be prepared, see above") from error

    def _fill(self, children: Children) -> None:
        """Write the demo's history, before anything runs."""
        try:
            children.run("demo", [sys.executable, "manage.py", "callboard", "demo", "--history"])
        except subprocess.CalledProcessError as error:
            raise LaunchError(
                "the demo needs an empty stack, see above; without --demo everything starts with the data that is there"
            ) from error

    def _wait_for_api(self, children: Children) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(f"{self._url()}/healthz"):
            children.check()
            if time.monotonic() > deadline:
                raise LaunchError(f"the api does not answer after {_START_SECONDS} s, see above")
            time.sleep(_TICK_SECONDS)

    def _try(self, children: Children) -> None:
        """Run the end-to-end check."""
        for line in self.servers.description():
            self._say(line)
        token = _credentials()["API_TOKEN"]
        try:
            for line in Trial(self._url(), token, keep_going=children.check).run():
                self._say(f"ok: {line}")
        except TrialError as error:
            raise LaunchError(f"the check failed: {error}; LOG_LEVEL=INFO shows more") from error

    def _watch(self, children: Children, *, sources: SourceWatch | None) -> NoReturn:
        """Keep everything running until a request to stop."""
        self._say(self._banner())
        ticks = 0
        while True:
            time.sleep(_TICK_SECONDS)
            ticks += 1
            children.check()
            for name in self.servers.revive():
                self._say(f"{name} had stopped; it was restarted")
            if sources and ticks % _RELOAD_TICKS == 0 and (changed := sources.changed()):
                self._say(f"{changed} changed; restarting")
                children.restart()

    def _banner(self) -> str:
        url, known, (host, port) = self._url(), _credentials(), self._grpc_address()
        mode = "-insecure" if conf.GRPC_TLS_CERTIFICATE else "-plaintext"
        password = known["ADMIN_PASSWORD"] or "(your own password; manage.py changepassword admin sets a new one)"
        lines = [
            "",
            self.style.SUCCESS("Callboard is running."),
            "",
            f"  API        {url}/api/v1/",
            f"  API token  {known['API_TOKEN']}",
            f"  gRPC       {host}:{port}",
            f"  Admin      {url}/admin/",
            f"  Login      {known['ADMIN_USER']} / {password}",
            "",
            *(f"  {line}" for line in self.servers.description()),
            f"  These credentials are kept in {conf.VAR_DIR / 'credentials'}",
            "",
            "Submit a task:",
            "",
            f"  curl -s {url}/api/v1/tasks -H 'Authorization: Bearer {known['API_TOKEN']}' \\",
            '    -H \'Content-Type: application/json\' -d \'{"actor": "echo", "payload": {"message": "hello"}}\'',
            "",
            "Or by gRPC:",
            "",
            f"  grpcurl {mode} -H 'authorization: Bearer {known['API_TOKEN']}' \\",
            """    -d '{"task": {"actor": "echo", "payload": "{\\"message\\": \\"hello\\"}"}}' \\""",
            f"    {host}:{port} callboard.v1.TaskService/SubmitTask",
            "",
            "Ctrl-C stops everything; the data stays.",
            "",
        ]
        return "\n".join(lines)

    def _announce_stop(self, children: Children) -> None:
        self.is_stopping = True
        if children.members:
            self._say("Stopping; running tasks may finish first. Ctrl-C stops at once.")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop the stack in order on the first signal, and by force on the next one."""
        if self.is_stopping:
            self.is_forced = True
            return
        self.is_stopping = True
        if not self.is_held:
            raise StopRequest

    @contextmanager
    def _held_signals(self) -> Iterator[None]:
        """Hold a request to stop back until the end of the block."""
        self.is_held = True
        try:
            yield
        finally:
            self.is_held = False
        if self.is_stopping:
            raise StopRequest

    def _url(self) -> str:
        return f"http://{_reachable(conf.API_HOST)}:{self.port}"

    def _grpc_address(self) -> tuple[str, int]:
        return _reachable(conf.GRPC_HOST), self.grpc_port

    def _say(self, text: str) -> None:
        """Print a line; a full disk costs the line, and a reader that has gone is a request to stop."""
        try:
            self.stdout.write(text)
            self.stdout.flush()
        except BrokenPipeError:
            if not self.is_stopping:
                self.is_stopping = True
                raise StopRequest from None
        except OSError:
            return


def _credentials() -> dict[str, str]:
    return read_pairs(conf.VAR_DIR / "credentials")


def _flows() -> list[str]:
    """Name the flows to try, unless somebody has named them already."""
    named = os.environ.get("ACTOR_APPS", "")
    if os.environ.get("BUILTIN_ACTORS", "true").lower() != "true" or "examples." in named:
        return []
    return [f"examples.{path.parent.name}" for path in sorted(conf.BASE_DIR.glob("examples/*/actors.py"))]


def _checked(port: int) -> int:
    if not 1 <= port <= _LARGEST_PORT:
        raise CommandError(f"--port: expected 1 to {_LARGEST_PORT}, got {port}")
    return port


def _reachable(host: str) -> str:
    return HOST if host in EVERY_ADDRESS else host


def _listens(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=1):
            return True
    except OSError:
        return False


def _refuse_taken_port(host: str, port: int, *, option: str) -> None:
    with socket.socket() as probe:
        # As gunicorn does: lingering connections of an earlier run do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            other = port + 1 if _SMALLEST_FREE_PORT <= port < _LARGEST_PORT else conf.API_PORT
            raise LaunchError(
                f"port {port} on {host} is not free ({error.strerror}); choose another: {option} {other}"
            ) from error


@contextmanager
def _written(path: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Tell commands in other terminals where the servers are, while they run."""
    write_pairs(path, environment, comment="Written by a running manage.py up, and deleted when it stops.")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _answers(url: str) -> bool:
    return _get(url) is not None


def _is_whole(url: str) -> bool:
    """Tell whether a scheduler and workers are running."""
    parts = (_get(url) or {}).get("components", {})
    return all(parts.get(name) == "ok" for name in ("scheduler", "workers"))


def _get(url: str) -> Any:
    """Read JSON from a URL; None if there is none."""
    try:
        with urlopen(url, timeout=2) as answer:  # noqa: S310
            return json.load(answer)
    except (OSError, ValueError):
        return None
