"""The metrics on an address of their own."""

import socket
from contextlib import closing
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.core.exceptions import ImproperlyConfigured
from prometheus_client.core import GaugeMetricFamily

from scheduler_site import env
from scheduler_site.embedded.processes import free_port
from tasks.checks import check_metrics_address
from tasks.setting import Address
from tasks.telemetry import database_gauges, metrics, metrics_server


@pytest.fixture
def served(monkeypatch, settings):
    """Serve on a free port; give its address, and stop what the test has started."""
    servers = []
    serve = metrics_server._serve
    monkeypatch.setattr(metrics_server, "_serve", lambda *args, **options: servers.append(serve(*args, **options)))
    settings.METRICS_ADDRESS = ("127.0.0.1", free_port())
    settings.METRICS_HOST, settings.METRICS_PORT = "127.0.0.1", free_port()
    monkeypatch.setattr(database_gauges, "_read_gauges", lambda: iter(()))
    yield SimpleNamespace(api=settings.METRICS_ADDRESS[1], scheduler=settings.METRICS_PORT)
    for server in servers:
        server.shutdown()
        server.server_close()


def _get(port, path="/metrics", method="GET"):
    with urlopen(Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=5) as answer:
        return answer.read().decode()


def test_the_api_serves_all_metrics_without_a_token(served, monkeypatch):
    gauge = GaugeMetricFamily("of_the_database", "A gauge.", value=7)
    monkeypatch.setattr(metrics.gauges, "collect", lambda: iter([gauge]))
    metrics_server.serve_all()
    page = _get(served.api)
    assert "callboard_build_info" in page
    assert "of_the_database 7.0" in page


def test_scheduler_and_workers_serve_their_counters_and_ask_no_database(served, monkeypatch):
    monkeypatch.setattr(metrics.gauges, "collect", lambda: pytest.fail("asked the database"))
    metrics_server.serve_counters()
    assert "callboard_build_info" in _get(served.scheduler)


def test_the_processes_of_the_api_share_the_address(served):
    metrics_server.serve_all()
    metrics_server.serve_all()
    assert "callboard_build_info" in _get(served.api)


@pytest.mark.parametrize(("path", "method", "status"), [("/admin/", "GET", 404), ("/metrics", "POST", 501)])
def test_nothing_else_is_served_there(served, path, method, status):
    metrics_server.serve_all()
    with pytest.raises(HTTPError) as refused:
        _get(served.api, path, method)
    with refused.value as answer:
        assert answer.code == status


def test_a_client_that_sends_nothing_stops_no_other(served):
    metrics_server.serve_all()
    with closing(socket.create_connection(("127.0.0.1", served.api))):
        assert "callboard_build_info" in _get(served.api)


def test_an_address_that_is_taken_is_refused_with_a_sentence(served):
    with closing(socket.create_server(("127.0.0.1", served.api))), pytest.raises(ImproperlyConfigured) as refused:
        metrics_server.serve_all()
    assert "METRICS_ADDRESS: expected an address of this machine that nobody else uses" in str(refused.value)


def test_it_is_off_by_default(served, settings):
    settings.METRICS_ADDRESS, settings.METRICS_PORT = None, 0
    metrics_server.serve_all()
    metrics_server.serve_counters()
    for port in (served.api, served.scheduler):
        with pytest.raises(OSError, match="refused"):
            _get(port)


def test_the_port_of_the_api_is_refused(settings):
    settings.METRICS_ADDRESS, settings.API_PORT = ("127.0.0.1", 8000), 8000
    assert [error.id for error in check_metrics_address()] == ["callboard.E006"]
    settings.API_PORT = 8001
    assert check_metrics_address() == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9191", ("127.0.0.1", 9191)),
        ("[::1]:9191", ("::1", 9191)),
        ("metrics:80", ("metrics", 80)),
        ("", None),
    ],
)
def test_addresses_are_read(monkeypatch, text, address):
    monkeypatch.setenv("METRICS_ADDRESS", text)
    assert env.read("METRICS_ADDRESS", Address(None)) == address


@pytest.mark.parametrize(
    "text", ["9191", ":9191", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:9191", "http://a:1"]
)
def test_what_is_no_address_is_refused(monkeypatch, text):
    monkeypatch.setenv("METRICS_ADDRESS", text)
    with pytest.raises(ImproperlyConfigured, match="expected a host and a port"):
        env.read("METRICS_ADDRESS", Address(None))
