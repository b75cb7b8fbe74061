"""The health of this process, for orchestrators: whether its loops turn, whether it has started, whether it can work.

It is served on a unix socket in ``HEALTH_DIR``, which ``tasks.healthcheck`` asks, and on ``HEALTH_ADDRESS`` if that is
set. systemd's watchdog is fed from here too. Liveness asks neither database nor broker: a restart of this process would
not mend them.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from tasks import healthcheck
from tasks.conf import conf
from tasks.log import get_logger
from tasks.telemetry.pages import AddressServer, Page

log = get_logger(__name__)

OK, STARTING, STOPPING, FAULT, NOT_READY = "ok", "starting", "stopping", "fault", "not ready"

_READ_SECONDS = 5.0

Faults = Callable[[], list[str]]
Components = Callable[[], Mapping[str, str]]


class Health:
    """What this process says of itself.

    Parameters:
        process: one of ``healthcheck.PROCESSES``.
        components: the state of each part that the process needs, as ``readiness`` finds them.
        needed: those that must be ok; None means all.
    """

    def __init__(self, process: str, *, components: Components, needed: Collection[str] | None = None) -> None:
        self.process = process
        self._components, self._needed = components, needed
        self._faults: Faults = list
        self._is_started: Callable[[], bool] = lambda: False
        self.is_stopping = False
        self._server: _UnixServer | None = None

    def serve(self) -> None:
        """Answer from now on; the process counts as starting.

        Raises:
            ImproperlyConfigured: ``HEALTH_ADDRESS`` is not free, or not an address of this machine.
        """
        self._serve_socket()
        if conf.HEALTH_ADDRESS is not None and self.process != "api":
            self._serve_address(conf.HEALTH_ADDRESS)

    def started(self, faults: Faults, *, is_started: Callable[[], bool] = lambda: True) -> None:
        """Note that the loops of this process turn from now on.

        Parameters:
            faults: says what is wrong with them, in a sentence each; it must neither wait nor ask a server.
            is_started: whether all parts have started.
        """
        self._faults, self._is_started = faults, is_started
        _Systemd.begin(self)

    def stop(self) -> None:
        """Count as stopping: alive, but not ready."""
        self.is_stopping = True
        self._faults = list
        if self._server is not None:
            self._server.path.unlink(missing_ok=True)

    def page(self, path: str) -> dict[str, Any] | None:
        """Describe the health as a page does; None if there is no such page."""
        asked = path.partition("?")[0].rstrip("/")
        if asked not in {healthcheck.LIVE, healthcheck.STARTED, healthcheck.READY}:
            return None
        faults = self._faults()
        facts = {"status": FAULT if faults else OK, "process": self.process, "pid": os.getpid(), "faults": faults}
        if faults or asked == healthcheck.LIVE:
            return facts
        if not self._is_started():
            return {**facts, "status": STARTING}
        if asked == healthcheck.STARTED:
            return facts
        components = self._components()
        needed = components if self._needed is None else self._needed
        is_ready = all(components.get(name) == OK for name in needed)
        return {
            **facts,
            "status": STOPPING if self.is_stopping else OK if is_ready else NOT_READY,
            "components": components,
        }

    def _serve_socket(self) -> None:
        folder = conf.HEALTH_DIR
        path = healthcheck.socket_of(folder, self.process, os.getpid())
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Of a process that had the same pid.
            path.unlink(missing_ok=True)
            self._server = _UnixServer(path, self)
        except OSError as error:
            # A full or read-only disk must not keep a process from its work.
            log.warning("health checks find nothing to ask", folder=str(folder), error=str(error))
            return
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def _serve_address(self, address: tuple[str, int]) -> None:
        try:
            server = _TcpServer(address, self)
        except OSError as error:
            raise ImproperlyConfigured(
                f"HEALTH_ADDRESS: expected an address of this machine that nobody else uses, such as 0.0.0.0:9101, "
                f"got {address[0]}:{address[1]}: {error.strerror or error}."
            ) from error
        threading.Thread(target=server.serve_forever, name="health-address", daemon=True).start()


class _Pages(Page):
    timeout = _READ_SECONDS
    server: "_UnixServer | _TcpServer"

    def respond(self) -> None:
        """Answer a probe."""
        facts = self.server.health.page(self.path)
        if facts is None:
            self.send_error(HTTPStatus.NOT_FOUND, "expected /healthz, /startupz or /readyz")
            return
        status = HTTPStatus.OK if facts["status"] == OK else HTTPStatus.SERVICE_UNAVAILABLE
        self.answer(status, "application/json", json.dumps(facts).encode())


class _Quiet:
    """What both servers share."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say what went wrong with a probe; the next one may succeed."""
        log.warning("a health check failed", exc_info=True)


class _UnixServer(_Quiet, ThreadingMixIn, UnixStreamServer):
    def __init__(self, path: Path, health: Health) -> None:
        self.path, self.health = path, health
        with healthcheck.short_name(path) as name:
            super().__init__(name, _Pages)


class _TcpServer(_Quiet, AddressServer):
    def __init__(self, address: tuple[str, int], health: Health) -> None:
        self.health = health
        super().__init__(address, _Pages)


class _Systemd:
    """Tells systemd that the process is ready, and feeds its watchdog while the process has no fault."""

    def __init__(self, address: str, health: Health, *, pause_seconds: float) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._health, self._pause_seconds = health, pause_seconds

    @classmethod
    def begin(cls, health: Health) -> None:
        """Begin, if this process was started by systemd and its unit asks for it."""
        # Taken out, or programs that actors start would speak for this process.
        address = os.environ.pop("NOTIFY_SOCKET", "")
        watchdog = int(os.environ.pop("WATCHDOG_USEC", "0")) / 1_000_000
        is_ours = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if not address:
            return
        systemd = cls(address, health, pause_seconds=watchdog / 3)
        systemd.tell("READY=1")
        if watchdog and is_ours:
            threading.Thread(target=systemd.feed, name="systemd", daemon=True).start()

    def feed(self) -> None:
        """Feed the watchdog until the process stops; then systemd only waits for its end."""
        last = ""
        while not self._health.is_stopping:
            facts = self._health.page(healthcheck.LIVE) or {}
            status = "; ".join(facts["faults"])
            if not status:
                self.tell("WATCHDOG=1")
            if status != last:
                self.tell(f"STATUS={status or 'well'}")
                last = status
            time.sleep(self._pause_seconds)

    def tell(self, message: str) -> None:
        """Send one line to systemd."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.sendto(message.encode(), self._address)
        except OSError as error:
            log.warning("systemd cannot be told", message=message, error=str(error))
