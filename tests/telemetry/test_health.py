"""The health of a process: served by it, asked from outside."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from django.core.exceptions import ImproperlyConfigured

from scheduler_site import api_health
from scheduler_site.embedded.processes import free_port
from tasks import healthcheck
from tasks.healthcheck import LIVE, READY, STARTED
from tasks.telemetry.health import Health
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path, settings):
    settings.HEALTH_DIR = tmp_path / "health"
    return settings.HEALTH_DIR


@pytest.fixture
def make(folder, request):
    """Make the health of a process, and stop it after the test."""

    def made(process="workers", components=dict, needed=None):
        health = Health(process, components=components, needed=needed)
        health.serve()
        request.addfinalizer(health.stop)
        return health

    return made


def ask(folder, page, process=None):
    (answer,) = healthcheck.check(folder, process, page, seconds=5)
    return answer


def test_a_process_is_alive_from_its_first_moment_and_started_later(make, folder):
    health = make()
    assert ask(folder, LIVE).is_well
    assert ask(folder, STARTED).sentence == f"workers (pid {os.getpid()}): it is starting"
    health.started(list)
    assert ask(folder, STARTED) == (True, f"workers (pid {os.getpid()}) is well", ask(folder, STARTED).facts)


def test_it_has_started_when_all_its_parts_have(make, folder):
    parts: list[str] = []
    make().started(list, is_started=lambda: bool(parts))
    assert not ask(folder, STARTED).is_well
    assert not ask(folder, READY).is_well
    parts.append("the first worker process")
    assert ask(folder, STARTED).is_well


def test_a_loop_that_stands_still_is_named_on_every_page(make, folder):
    make().started(lambda: ["the dispatcher stands still"])
    for page in (LIVE, STARTED, READY):
        answer = ask(folder, page)
        assert not answer.is_well
        assert answer.sentence.endswith(": the dispatcher stands still")


def test_it_is_ready_with_all_that_it_needs(make, folder):
    found = {"database": "ok", "broker": "down"}
    make("scheduler", components=lambda: found).started(list)
    assert ask(folder, READY).sentence.endswith(": broker is down")
    assert ask(folder, LIVE).is_well, "a restart would not mend the broker"
    found["broker"] = "ok"
    assert ask(folder, READY).is_well


def test_what_it_does_not_need_may_be_down(make, folder):
    make("api", components=lambda: {"database": "ok", "broker": "down"}, needed=["database"]).started(list)
    assert ask(folder, READY).is_well
    assert ask(folder, READY).facts["components"] == {"database": "ok", "broker": "down"}


def test_a_stopping_process_is_alive_but_not_ready(make, folder):
    health = make()
    health.started(lambda: ["the sweeper is dead"])
    health.stop()
    assert health.page(LIVE)["status"] == "ok"
    assert health.page(READY)["status"] == "stopping"


def test_a_stopped_process_is_not_well(folder):
    """Its kernel still takes connections, but nobody answers."""
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener, healthcheck.short_name(folder / "workers.7.sock") as name:
        listener.bind(name)
        listener.listen()
        (answer,) = healthcheck.check(folder, "workers", LIVE, seconds=0.1)
    assert (answer.is_well, answer.sentence) == (False, "workers (pid 7) gives no answer")


def test_the_socket_of_a_process_that_died_is_cleared_away(folder):
    folder.mkdir()
    left = folder / "workers.7.sock"
    with socket.socket(socket.AF_UNIX) as listener, healthcheck.short_name(left) as name:
        listener.bind(name)
    (answer,) = healthcheck.check(folder, "workers", LIVE)
    assert (answer.is_well, answer.sentence) == (False, f"workers is not running: nothing answers in {folder}")
    assert not left.exists()


def test_each_of_several_processes_is_asked(make, folder):
    make("scheduler").started(list)
    make("workers").started(lambda: ["the supervisor stands still"])
    answers = healthcheck.check(folder, None, LIVE)
    assert [answer.is_well for answer in answers] == [True, False]
    assert [answer.is_well for answer in healthcheck.check(folder, "scheduler", LIVE)] == [True]


def test_a_folder_with_a_long_name_works(tmp_path, settings, request):
    settings.HEALTH_DIR = tmp_path / ("x" * 120)
    health = Health("grpc", components=dict)
    health.serve()
    request.addfinalizer(health.stop)
    assert ask(settings.HEALTH_DIR, LIVE).is_well


def test_a_disk_without_room_does_not_keep_a_process_from_its_work(tmp_path, settings):
    (tmp_path / "file").write_text("")
    settings.HEALTH_DIR = tmp_path / "file" / "health"
    Health("scheduler", components=dict).serve()


def test_an_orchestrator_asks_over_http(make, settings):
    settings.HEALTH_ADDRESS = ("127.0.0.1", free_port())
    url = f"http://127.0.0.1:{settings.HEALTH_ADDRESS[1]}"
    faults: list[str] = []
    make("grpc").started(lambda: faults)
    for path in ("/healthz", "/healthz/", "/startupz", "/readyz?of=all"):
        with urlopen(url + path, timeout=5) as answer:
            assert json.load(answer)["status"] == "ok"
    faults.append("the event loop stands still")
    for path, code in {"/healthz": 503, "/metrics": 404}.items():
        with pytest.raises(HTTPError) as refused:
            urlopen(url + path, timeout=5)
        with refused.value as answer:
            assert answer.code == code


def test_an_address_that_is_taken_is_refused(make, settings):
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings.HEALTH_ADDRESS = ("127.0.0.1", other.getsockname()[1])
        with pytest.raises(ImproperlyConfigured, match="HEALTH_ADDRESS: expected an address"):
            make("scheduler")


def test_the_main_loop_of_an_api_process(folder, request):
    moment = time.monotonic()
    worker = SimpleNamespace(tmp=SimpleNamespace(last_update=lambda: moment))
    health = api_health.serve(worker)
    request.addfinalizer(health.stop)
    assert ask(folder, LIVE).is_well
    moment -= 11
    assert ask(folder, LIVE).sentence.endswith(": the main loop has stood still for 11 s")


def test_systemd_is_told_and_its_watchdog_fed_while_there_is_no_fault(make, tmp_path, monkeypatch):
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "60000")
    faults: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(5)
        make().started(lambda: faults)
        assert systemd.recv(100) == b"READY=1"
        assert systemd.recv(100) == b"WATCHDOG=1"
        faults.append("the supervisor stands still")
        wait_until(lambda: systemd.recv(100) == b"STATUS=the supervisor stands still")
        systemd.settimeout(0.1)
        with pytest.raises(TimeoutError):
            # From now on nothing, and systemd restarts the unit.
            systemd.recv(100)
    assert "NOTIFY_SOCKET" not in os.environ, "a program that an actor starts would speak for this process"


def test_a_check_of_a_container_loads_no_framework(make, folder):
    make().started(list)
    code = (
        "import sys; from tasks.healthcheck import main; code = main(['workers', '--ready']);"
        "assert not {'django', 'dramatiq', 'redis', 'urllib.request'} & set(sys.modules); sys.exit(code)"
    )
    environment = {"HEALTH_DIR": str(folder)}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=20
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert re.fullmatch(r"workers \(pid \d+\) is well\n", answer.stdout)
