"""/metrics on an address of its own: it needs no token and no thread of the API."""

import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from prometheus_client import CONTENT_TYPE_LATEST

from tasks.conf import conf
from tasks.db import call_timeout
from tasks.log import get_logger
from tasks.telemetry import metrics
from tasks.telemetry.pages import AddressServer, Page

log = get_logger(__name__)

_READ_SECONDS = 10.0


def serve_counters() -> None:
    """Serve the counters from a scheduler or a supervisor of workers, if ``METRICS_PORT`` is set."""
    if conf.METRICS_PORT:
        _serve((conf.METRICS_HOST, conf.METRICS_PORT), metrics.render_counters)


def serve_all() -> None:
    """Serve the counters and gauges from an api process, if ``METRICS_ADDRESS`` is set.

    The api processes of a machine share the address; each of them reports the sums of all.

    Raises:
        ImproperlyConfigured: the address is not free, or does not exist.
    """
    if conf.METRICS_ADDRESS is None:
        return
    host, port = conf.METRICS_ADDRESS
    try:
        _serve((host, port), _rendered_with_gauges, is_shared=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"METRICS_ADDRESS: expected an address of this machine that nobody else uses, such as 127.0.0.1:9191, "
            f"got {host}:{port}: {error.strerror or error}."
        ) from error


def _rendered_with_gauges() -> bytes:
    try:
        with call_timeout.bounded(conf.REQUEST_DATABASE_SECONDS):
            return metrics.render()
    finally:
        # Each connection has a thread, and each thread that asked the database a session.
        connections.close_all()


def _serve(address: tuple[str, int], render: Callable[[], bytes], *, is_shared: bool = False) -> "_Server":
    server = _Server(address, render, is_shared=is_shared)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    log.info("metrics are served", host=address[0], port=server.server_address[1])
    return server


class _Server(AddressServer):
    """A server of one page."""

    def __init__(self, address: tuple[str, int], render: Callable[[], bytes], *, is_shared: bool) -> None:
        self.render = render
        self.allow_reuse_port = is_shared
        super().__init__(address, _Metrics)

    def handle_error(self, *_: Any) -> None:
        """Say what went wrong with a scrape; the next one may succeed."""
        log.warning("a scrape of the metrics failed", exc_info=True)


class _Metrics(Page):
    server: _Server
    timeout = _READ_SECONDS

    def respond(self) -> None:
        """Answer a scrape."""
        if self.path.partition("?")[0].rstrip("/") not in {"", "/metrics"}:
            self.send_error(HTTPStatus.NOT_FOUND, "expected /metrics")
            return
        self.answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, self.server.render())
