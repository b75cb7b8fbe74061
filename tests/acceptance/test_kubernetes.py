"""deploy/k8s without a cluster: the command of each container as a local process, probed as the kubelet probes it.

A pod's address becomes 127.0.0.1 with ports of its own, and its file system a folder; the rest is as kustomize writes
it: commands, variables, probes, the time to stop, and the migration beside which all others start.
"""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.processes import free_port, kill_session, spawn
from scheduler_site.embedded.programs import find_redis
from scheduler_site.embedded.servers import HOW_TO_GET_REDIS, PostgresServer, RedisServer
from tests import containers
from tests.acceptance.harness.servers import start_postgres
from tests.kubernetes import SMALL, Object, container, of_kind, rendered, secret, settings_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PODS = [f"callboard-{name}" for name in ("api", "grpc", "scheduler", "worker-high", "worker-medium", "worker-low")]
POD_IP = "10.244.1.17"


class Pod:
    """One replica of a deployment, or the job."""

    def __init__(self, stack: "Stack", one: Object) -> None:
        self.name = one["metadata"]["name"]
        self.log = stack.folder / f"{self.name}.log"
        self._stack, self._object, self._container = stack, one, container(one)
        self._ports = {str(port["containerPort"]): str(free_port()) for port in self._container.get("ports", [])}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            command = [word for given in self._container["command"] for word in self._translated(given)]
            self.process = spawn(command, env=self._environment(), output=output, cwd=self._stack.image)

    def probe(self, name: str) -> int:
        """Ask as the kubelet does, whose Host is the address of the pod; 0 means no answer."""
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} has ended:\n{self.tail()}"
        get = self._container[f"{name}Probe"]["httpGet"]
        port = next(str(one["containerPort"]) for one in self._container["ports"] if one["name"] == get["port"])
        connection = http.client.HTTPConnection("127.0.0.1", int(self._ports[port]), timeout=10)
        try:
            connection.request("GET", get["path"], headers={"Host": f"{POD_IP}:{port}"})
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def is_up(self, name: str) -> bool:
        return self.probe(name) == 200

    def stop(self) -> tuple[int, float]:
        """Stop as the kubelet does; return the exit code, and the seconds that it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.terminate()
        code = self.process.wait(self._object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"])
        self.process = None
        return code, time.monotonic() - began

    def port(self, number: int) -> str:
        return self._ports[str(number)]

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def _environment(self) -> dict[str, str]:
        variables = containers.image_environment() | settings_of(rendered(SMALL), self._object)
        translated = {name: " ".join(self._translated(value)) for name, value in variables.items()}
        return translated | self._stack.secret | {"PATH": os.environ["PATH"]}

    def _translated(self, word: str) -> list[str]:
        programs = {"python": [sys.executable], "gunicorn": [sys.executable, "-m", "gunicorn"]}
        if word in programs:
            return programs[word]
        if word.startswith("/"):
            return [str(self._stack.folder / self.name / word.lstrip("/"))]
        word = word.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - what it is replaced by is the point
        return [re.sub(r"\d{4,5}", lambda found: self._ports.get(found[0], found[0]), word)]


class Stack:
    """The small overlay."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.image = folder, folder / "image"
        containers.make_image(self.image)
        self.postgres = start_postgres(folder, kind=PostgresServer)
        self.redis = RedisServer(folder)
        # The secret's names are those of the overlay; its values are those of these servers.
        self.secret = {
            "SECRET_KEY": "a-key-of-this-test-with-32-characters",
            "DATABASE_URL": self.postgres.url,
            "BROKER_URL": self.redis.start(),
        }
        # The overlay has further names, of servers that this stack does not use.
        assert set(self.secret) <= set(secret(rendered(SMALL), "callboard"))
        objects = rendered(SMALL)
        self.pods = {one["metadata"]["name"]: Pod(self, one) for one in of_kind(objects, "Deployment", "Job")}

    def clear(self) -> None:
        for one in self.pods.values():
            if one.process is not None:
                kill_session(one.process.pid)
                one.process.wait()
        self.redis.stop(immediate=True)
        self.postgres.stop(immediate=True)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    folder = temporary_folder()
    if find_redis(store=folder, account=None) is None:
        pytest.skip(f"needs Redis: {HOW_TO_GET_REDIS}")
    rendered(SMALL)
    stack = Stack(folder)
    try:
        yield stack
    finally:
        stack.clear()
        shutil.rmtree(folder, ignore_errors=True)


def test_all_pods_start_at_once_and_become_ready_after_the_migration(stack: Stack) -> None:
    for one in stack.pods.values():
        one.start()
    job = stack.pods["callboard-migrate"].process
    assert job is not None
    assert job.wait(90) == 0, stack.pods["callboard-migrate"].tail()
    for probe in ("startup", "liveness", "readiness"):
        for name in PODS:
            pod = stack.pods[name]
            wait_until(lambda pod=pod, probe=probe: pod.is_up(probe), timeout=90, interval=0.3, what=pod.tail)  # type: ignore[misc]


def test_a_task_of_each_band_runs(stack: Stack) -> None:
    api = stack.pods["callboard-api"]
    token = _token(stack)

    def call(method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", int(api.port(8000)), timeout=10)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Host": "localhost"}
        with closing(connection):
            connection.request(method, path, body and json.dumps(body), headers)
            return json.load(connection.getresponse())

    tasks = [{"actor": "echo", "payload": {"message": word}, "priority": word} for word in ("high", "medium", "low")]
    ids = [one["id"] for one in call("POST", "/api/v1/tasks/bulk", {"tasks": tasks})["tasks"]]
    wait_until(
        lambda: all(call("GET", f"/api/v1/tasks/{id}")["status"] == "SUCCEEDED" for id in ids), timeout=30, interval=0.2
    )


def test_metrics_are_where_the_annotations_say(stack: Stack) -> None:
    for one in of_kind(rendered(SMALL), "Deployment"):
        port = one["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"]
        connection = http.client.HTTPConnection("127.0.0.1", int(stack.pods[one["metadata"]["name"]].port(int(port))))
        with closing(connection):
            connection.request("GET", "/metrics")
            assert b"callboard_build_info" in connection.getresponse().read()


def test_no_pod_writes_to_the_image(stack: Stack) -> None:
    fresh = stack.folder / "fresh"
    containers.make_image(fresh)
    assert _files(stack.image) == _files(fresh)


def test_pods_stop_in_order_within_their_time(stack: Stack) -> None:
    """Run last, because this ends the stack."""
    for name in reversed(PODS):
        code, seconds = stack.pods[name].stop()
        assert code == 0, stack.pods[name].tail()
        assert seconds < 20, name


def _token(stack: Stack) -> str:
    environment = stack.secret | {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull, "HOME": str(stack.folder)}
    file = stack.folder / "credentials"
    command = [sys.executable, "manage.py", "prepare", "--credentials", str(file)]
    subprocess.run(command, cwd=containers.ROOT, env=environment, check=True, capture_output=True, timeout=60)
    return dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)["API_TOKEN"]


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
