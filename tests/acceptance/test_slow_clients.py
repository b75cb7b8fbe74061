"""Clients that send slowly, send too much, or come while nothing else works: the api answers everybody else."""

import contextlib
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from socket import socket
from typing import Any

import psutil
import pytest

from tests.acceptance.harness.api import Api
from tests.acceptance.harness.faults import frozen
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import Databases
from tests.raw_http import connect, exchange, talk
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SOCKETS = 200
#: What liveness may take, whatever happens.
SECONDS = 1.0
TASKS = "/api/v1/tasks"
#: Threads of the rig's api, and some more.
STUCK_REQUESTS = 12
POST = b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SLOW = {
    "nothing": b"",
    "half a request line": b"POST /api/v1/ta",
    "half the headers": POST,
    "half a body": POST + b'Content-Length: 100\r\n\r\n{"actor": "eff',
    "half a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n20\r\n{",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
}


def address(api: Api) -> tuple[str, int]:
    return "127.0.0.1", int(api._root.rpartition(":")[2])


def seconds_of_liveness(api: Api) -> float:
    began = time.monotonic()
    assert api.call("/healthz").status == 200
    return time.monotonic() - began


@contextlib.contextmanager
def many_sockets(api: Api, data: bytes) -> Iterator[list[socket]]:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(address(api))) for _ in range(SOCKETS)]
        for sock in socks:
            sock.sendall(data)
        yield socks


@pytest.fixture
def api(rig: Rig) -> Api:
    # Nothing runs the tasks here, so there is nothing to verify.
    rig.was_verified = True
    return rig.start_api(env={"SUBMIT_RATE_LIMIT": "0"})


def test_slow_sockets_keep_nobody_from_the_api(api: Api) -> None:
    for kind, data in SLOW.items():
        with many_sockets(api, data):
            for _ in range(5):
                assert seconds_of_liveness(api) < SECONDS, kind
                began = time.monotonic()
                assert api.submit("effect").status == 201, kind
                assert time.monotonic() - began < 3 * SECONDS, kind


def test_dripping_sockets_keep_nobody_from_the_api_and_are_refused(api: Api) -> None:
    head = POST + b"Content-Length: 100\r\n\r\n"
    with many_sockets(api, head[:20]) as socks:
        for position in range(20, 24):
            for sock in socks:
                sock.sendall(head[position : position + 1])
            assert seconds_of_liveness(api) < SECONDS
            assert api.submit("effect").status == 201
            time.sleep(0.5)
        answer = talk(socks[0], [])
    assert answer.statuses == [408]
    assert json.loads(answer.body)["status"] == 408


def test_clients_that_do_not_read_keep_nobody_from_the_api(api: Api) -> None:
    request = (
        b"GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    with many_sockets(api, request * 8):
        for _ in range(5):
            assert seconds_of_liveness(api) < SECONDS
        assert api.submit("effect").status == 201


def test_a_frozen_database_does_not_make_the_process_look_dead(rig: Rig, databases: Databases) -> None:
    rig.was_verified = True
    api = rig.start_api(env={"SUBMIT_RATE_LIMIT": "0", "REQUEST_DATABASE_SECONDS": "2"})
    assert api.submit("effect").status == 201
    with frozen(databases.server):
        stuck = [threading.Thread(target=api.call, args=(TASKS,)) for _ in range(STUCK_REQUESTS)]
        stuck += [threading.Thread(target=api.call, args=(path,)) for path in ("/readyz", "/health")]
        for thread in stuck:
            thread.start()
        time.sleep(1)
        assert all(thread.is_alive() for thread in stuck[:4]), "no request was stuck: the database was not frozen"
        # Beyond the end of the first requests, whose statements are cancelled before they are given up.
        until = time.monotonic() + 8
        while time.monotonic() < until:
            assert seconds_of_liveness(api) < SECONDS
            time.sleep(0.1)
    for thread in stuck:
        thread.join()
    assert api.submit("effect", tries=5).status == 201


# --- Early errors ---------------------------------------------------------------------------------------------------

LARGE = b'{"actor": "effect", "payload": {"text": "' + b"x" * 5_000_000 + b'"}}'


def headers(api: Api, *, is_known: bool) -> dict[str, str]:
    token = {"Authorization": f"Bearer {api._token}"} if is_known else {}
    return {"Content-Type": "application/json", **token}


@pytest.mark.parametrize(
    ("path", "is_known", "status"),
    [(TASKS, True, 413), (TASKS, False, 401), ("/admin/login/", False, 413), ("/nowhere", False, 413)],
)
def test_clients_that_send_everything_first_get_to_read_the_refusal(
    api: Api, path: str, is_known: bool, status: int
) -> None:
    fields = headers(api, is_known=is_known)
    for _ in range(5):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(api._root + path, LARGE, fields), timeout=20)
        with caught.value as answer:
            assert answer.code == status
            assert json.load(answer)["status"] == status
        for body in (LARGE, iter([LARGE[:2_000_000], LARGE[2_000_000:]]) if path == TASKS else LARGE):
            with contextlib.closing(http.client.HTTPConnection(*address(api), timeout=20)) as client:
                client.request("POST", path, body, fields)
                with client.getresponse() as response:
                    assert (response.status, response.headers["Connection"]) == (status, "close")


def test_a_large_body_within_the_limit_is_read(api: Api) -> None:
    fields = headers(api, is_known=True)
    tasks = [{"actor": "effect", "payload": {"text": "x" * 194_000}}] * 20
    body = json.dumps({"tasks": tasks}).encode()
    assert 3_800_000 < len(body) < 4 * 1024 * 1024
    with contextlib.closing(http.client.HTTPConnection(*address(api), timeout=20)) as client:
        for known in (fields, headers(api, is_known=False)):
            client.request("POST", f"{TASKS}/bulk", body, known)
            with client.getresponse() as response:
                # The stage's actor takes no text, and says so of each task: all of it was read.
                assert response.status == (400 if known is fields else 401)
                assert response.headers["Connection"] == "keep-alive"
                response.read()


@pytest.mark.parametrize("is_declared", [True, False])
def test_no_upload_reaches_the_disk(api: Api, is_declared: bool) -> None:
    (worker,) = psutil.Process(api.process.pid).children()
    assert api.submit("effect").status == 201
    length = b"Content-Length: 300000000" if is_declared else b"Transfer-Encoding: chunked"
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + b"x" * 20_000_000
    for path in (b"/admin/login/", b"/nowhere", b"/healthz", b"/api/v1/tasks", b"/"):
        before = worker.io_counters().write_chars
        head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nCookie: csrftoken=%s\r\n%s\r\n" % (path, b"a" * 32, length)
        head += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        answer = exchange(address(api), head + (part if is_declared else b"11E1A300\r\n" + part))
        expected = {401} if path.startswith(b"/api") else {413} if is_declared else {403, 404, 405}
        assert set(answer.statuses) <= expected, path
        assert worker.io_counters().write_chars - before < 1_000_000, path
        assert seconds_of_liveness(api) < SECONDS


# --- Stopping -------------------------------------------------------------------------------------------------------


def test_a_stop_finishes_the_request_that_runs(api: Api, databases: Databases, rig: Rig) -> None:
    assert api.submit("effect").status == 201
    replies: list[Any] = []
    with frozen(databases.server):
        request = threading.Thread(target=lambda: replies.append(api.submit("effect")))
        request.start()
        time.sleep(0.5)
        os.kill(api.process.pid, 15)
        wait_until(lambda: "Handling signal: term" in api.process.log.read_text(), what="the api to hear of it")
    request.join()
    assert [reply.status for reply in replies] == [201]
    assert api.process.wait(15) == 0


def test_liveness_answers_probes_by_address(api: Api) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: 10.1.2.3:8000\r\nConnection: close\r\n\r\n"
    assert exchange(address(api), head).statuses == [200]
