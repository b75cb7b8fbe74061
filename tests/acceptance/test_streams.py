"""F15: streams of submissions by REST and gRPC while the broker, the gRPC server and a worker are killed."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler_site.embedded.processes import free_port
from tests.acceptance.conftest import make_rig
from tests.acceptance.harness.api import Api
from tests.acceptance.harness.grpc_api import GrpcApi
from tests.acceptance.harness.processes import Process, kill
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import Databases
from tests.acceptance.test_rabbitmq import Borrowed, node  # noqa: F401 - a fixture
from tests.waiting import wait_until

FAULT = "F15"
COUNT, CHUNKS = 3, 4

# A node of RabbitMQ is started twice.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Forgetful(Borrowed):
    """A node of RabbitMQ that comes back without its queues."""

    def restart(self, *, immediate: bool) -> None:
        """Kill it, remove its data, and start it."""
        self.node.stop(immediate=immediate)
        self.node.forget()
        self.node.start()


@pytest.fixture(params=["redis", "rabbitmq"])
def rig(databases: Databases, tmp_path: Path, request: Any) -> Iterator[Rig]:
    if request.param == "redis":
        broker = request.getfixturevalue("redis_server")
    else:
        broker = Forgetful(request.getfixturevalue("node"))
    yield from make_rig(databases, broker, tmp_path, request)


class Streams:
    """Two clients that submit until they are told to stop, each in a thread."""

    def __init__(self, rest: Api, grpc: GrpcApi) -> None:
        self.accepted = {"rest": 0, "grpc": 0}
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._submit, args=("rest", lambda key: _accepted(rest, key))),
            threading.Thread(
                target=self._submit,
                args=("grpc", lambda _: grpc.submit("last", chunks=CHUNKS, count=COUNT, tries=20, seconds=0.02)),
            ),
        ]
        for thread in self._threads:
            thread.start()

    def _submit(self, door: str, submit: Callable[[str], bool]) -> None:
        number = 0
        while not self._stopping.wait(0.05):
            number += 1
            self.accepted[door] += submit(f"key-{number}")

    def await_more(self, count: int = 5) -> None:
        """Wait until both have had so many more answers."""
        wanted = {door: found + count for door, found in self.accepted.items()}
        wait_until(
            lambda: all(self.accepted[door] >= wanted[door] for door in wanted), timeout=90, what="more submissions"
        )

    def stop(self) -> None:
        """Let both end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive()


def _accepted(rest: Api, key: str) -> bool:
    return rest.submit("last", count=COUNT, key=key, tries=20, seconds=0.02).status in {200, 201}


def start_grpc(rig: Rig, port: int) -> Process:
    return rig._start("grpc", ["manage.py", "rungrpc", "--port", str(port)], {"WAIT_SECONDS": "0"})


def test_what_was_accepted_ends_whatever_is_killed_meanwhile(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(threads=2)
    port, token = free_port(), rig.client.issue_token()
    server, rest = start_grpc(rig, port), rig.start_api(token=token)
    grpc = GrpcApi(port, token=token, history=rig.client.history)
    rig.await_workers()
    streams = Streams(rest, grpc)
    try:
        streams.await_more()
        rig.redis.restart(immediate=True)
        streams.await_more()
        # Some kill hits a stream that is open.
        while not grpc.broken_streams:
            server.kill()
            server = start_grpc(rig, port)
            streams.await_more()
        kill(workers.children()[0])
        streams.await_more()
    finally:
        streams.stop()
        grpc.close()
    submissions = rig.client.history.submissions
    assert {one.answer for one in submissions} == {"ok"}, "keys make it safe to send again what got no answer"
    rig.verify(within=90)
    accepted = rig.client.history.accepted
    assert len(set(accepted)) == len(accepted) == COUNT * len(submissions)
    assert {rig.outcomes(id)[-1] for id in accepted} == {"SUCCEEDED"}
    assert set(rig.effects()) == set(accepted)
