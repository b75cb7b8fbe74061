"""``manage.py rungrpc`` as a process: the example's client, an orderly stop, and a port that is taken."""

import re
import threading
from contextlib import closing
from typing import Any

import grpc
import psycopg2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from examples.grpc_client.client import Client
from scheduler_site.embedded.processes import free_port
from scheduler_site.probe import is_serving, main
from tasks.rpc.generated import task_pb2 as pb
from tasks.rpc.generated.task_pb2_grpc import TaskServiceStub
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def test_a_client_is_served_and_a_call_outlives_sigterm(rig: Rig) -> None:
    builtin = {"BUILTIN_ACTORS": "true", "WAIT_SECONDS": "0"}
    rig.start_scheduler(env=builtin)
    rig.start_workers(env=builtin)
    address, port = "127.0.0.1", free_port()
    server = rig._start("grpc", ["manage.py", "rungrpc", "--port", str(port)], builtin)
    token = rig.client.issue_token()
    client = Client(f"{address}:{port}", token=token)
    assert is_serving(f"{address}:{port}")
    assert main(f"grpc://{address}:{port}") == 0
    assert client.is_serving()
    id = client.submit("echo", {"message": "hello"}, key="once")
    assert client.submit("echo", {"message": "hello"}, key="once") == id
    assert client.wait(id, seconds=30) == "hello"

    second = rig.run("manage.py", "rungrpc", "--port", str(port), env=builtin)
    assert second.returncode == 1
    assert re.search(rf"CommandError: gRPC cannot be served on 127\.0\.0\.1:{port}: ", second.stderr)

    answers: list[Any] = []
    with grpc.insecure_channel(f"{address}:{port}") as channel, closing(psycopg2.connect(rig.database.url)) as locker:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        locker.cursor().execute("LOCK TABLE callboard_task IN ACCESS EXCLUSIVE MODE")
        stub, metadata = TaskServiceStub(channel), [("authorization", f"Bearer {token}")]
        calling = threading.Thread(
            target=lambda: answers.append(stub.ListTasks(pb.ListTasksRequest(), metadata=metadata))
        )
        calling.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'callboard_task'::regclass"
        wait_until(lambda: rig.database.query(waiting)[0][0] > 0, timeout=10, what="the call to wait for the table")
        server.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        locker.rollback()
        calling.join(20)
    assert [len(one.tasks) for one in answers] == [1]
    assert server.wait(20) == 0
    # The checker knows the tasks of the rig's own client only, and this one came by gRPC.
    rig.was_verified = True
