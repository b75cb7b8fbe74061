"""Submission over HTTP: sixteen connections that each post request after request, to Callboard and to a bare view."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from scheduler_site.embedded.processes import free_port

if TYPE_CHECKING:
    from benchmarks.stack import Stack

CONNECTIONS, SECONDS = 16, 5.0
BODY = json.dumps({"actor": "noop", "payload": {"number": 1}})
ISSUE = """
import django; django.setup()
from django.contrib.auth.models import User
from tasks.models import ApiToken
user, _ = User.objects.get_or_create(username="benchmark")
print(ApiToken.issue(user=user, name="benchmark")[1])
"""


def compare(stack: "Stack") -> Mapping[str, float]:
    """Measure both views on the same server."""
    secret = stack.run([sys.executable, "-c", ISSUE]).strip()
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "benchmarks.wsgi", "-w", "2", "--threads", "8", "-b", f"127.0.0.1:{port}"],
        env=stack.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await_server(port)
        ours = _rate(port, "/api/v1/tasks", secret)
        bare = _rate(port, "/bare", secret)
    finally:
        server.terminate()
        server.wait()
    return {"submit over HTTP, tasks/s": ours, "bare view with one INSERT, requests/s": bare}


def await_server(port: int) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("gunicorn does not answer")


def _rate(port: int, path: str, secret: str) -> float:
    counts: list[int] = []
    _post(port, path, secret, seconds=1, counts=[])
    threads = [
        threading.Thread(target=_post, args=(port, path, secret), kwargs={"seconds": SECONDS, "counts": counts})
        for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def _post(port: int, path: str, secret: str, *, seconds: float, counts: list[int]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        connection.request("POST", path, BODY, headers)
        response = connection.getresponse()
        text = response.read()
        if response.status != 201:
            raise SystemExit(f"{path} answered {response.status}: {text[:300]!r}")
        count += 1
    counts.append(count)
