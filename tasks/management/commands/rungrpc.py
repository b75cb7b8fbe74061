"""``manage.py rungrpc``: the gRPC API."""

import asyncio
import signal
import time
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from scheduler_site.waiting import wait_until_ready
from tasks import log_writer
from tasks.conf import conf
from tasks.contract import readiness
from tasks.log import get_logger
from tasks.telemetry import metrics_server
from tasks.telemetry.health import Health

log = get_logger(__name__)

#: An event loop that does not turn for this long is a fault.
STILL_SECONDS = 10.0


class Command(BaseCommand):
    """Serve the gRPC API until SIGTERM or Ctrl-C."""

    help = "Serve the gRPC API, with health checking and reflection. SIGTERM lets calls end; a second one does not."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define the options."""
        parser.add_argument("--host", default=conf.GRPC_HOST, help="the address (default: GRPC_HOST, 127.0.0.1)")
        parser.add_argument("--port", type=int, default=conf.GRPC_PORT, help="the port (default: GRPC_PORT, 50051)")

    def handle(self, *, host: str, port: int, **_: Any) -> None:
        """Run the server."""
        try:
            from tasks.rpc.server import Server
        except ImportError as error:
            raise CommandError(f"gRPC is not installed ({error}): pip install 'callboard[grpc]'") from error
        log_writer.start()
        health = Health("grpc", components=readiness.state, needed=readiness.TO_ACCEPT_TASKS)
        health.serve()
        wait_until_ready()
        metrics_server.serve_counters()
        asyncio.run(_serve(Server, host, port, health))
        log_writer.end_process(0)


class Turns:
    """Whether the event loop turns."""

    def __init__(self) -> None:
        self._last_at = time.monotonic()

    async def count(self) -> None:
        """Note each second that the loop turns."""
        while True:
            self._last_at = time.monotonic()
            await asyncio.sleep(1.0)

    def faults(self) -> list[str]:
        """Say that it stands still; another thread asks this."""
        stood = time.monotonic() - self._last_at
        return [f"the event loop has stood still for {stood:.0f} s"] if stood > STILL_SECONDS else []


async def _serve(make: Any, host: str, port: int, health: Health) -> None:
    # Before the server starts, or a signal at that moment would end the process with calls in its hands.
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = make()
    try:
        await server.start(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except (OSError, ImproperlyConfigured) as error:
        raise CommandError(f"gRPC cannot be served on {host}:{port}: {error}") from error
    log.info("gRPC is served", host=host, port=port, tls=bool(conf.GRPC_TLS_CERTIFICATE))
    turns = Turns()
    turning = asyncio.create_task(turns.count())
    health.started(turns.faults)
    await stop.wait()
    health.stop()
    turning.cancel()
    log.info("stopping; calls may end first")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    await server.stop()
