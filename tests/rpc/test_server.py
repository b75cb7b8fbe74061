"""The gRPC server on the wire: what only a connection shows."""

import dataclasses
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from tasks.models import Task
from tasks.rpc import calls
from tasks.rpc import server as server_module
from tasks.rpc.calls import Origin
from tasks.rpc.credentials import server_credentials
from tasks.rpc.generated import task_pb2 as pb
from tasks.rpc.generated.task_pb2_grpc import TaskServiceStub
from tasks.rpc.incoming import peer_address
from tasks.rpc.services import METHODS, SERVICES
from tests.callers import Caller
from tests.rpc.serving import code_of, metadata_of, refused, served
from tests.waiting import wait_until

GOOD = pb.NewTask(actor="act", payload=json.dumps({"do": "return"}))
PATH = "/callboard.v1.TaskService/"


@pytest.fixture
def address(transactional_db: None) -> Iterator[str]:
    with served() as found:
        yield found


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address) as found:
        yield found


def test_a_stream_of_chunks_is_answered_chunk_by_chunk(channel: Any, alice: Caller) -> None:
    chunks = [
        pb.SubmitTasksRequest(tasks=[GOOD, GOOD], idempotency_key="a"),
        pb.SubmitTasksRequest(tasks=[GOOD, pb.NewTask(actor="nobody")]),
        pb.SubmitTasksRequest(tasks=[GOOD, GOOD], idempotency_key="a"),
        pb.SubmitTasksRequest(tasks=[GOOD]),
    ]
    call = TaskServiceStub(channel).SubmitTasks(iter(chunks), metadata=[*metadata_of(alice), ("x-trace-id", "a" * 32)])
    first, bad, again, last = list(call)
    assert [len(one.tasks) for one in (first, bad, again, last)] == [2, 0, 2, 1]
    assert bad.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [one.id for one in again.tasks] == [one.id for one in first.tasks]
    assert (first.replayed, again.replayed) == (False, True)
    assert Task.objects.filter(trace_id="a" * 32).count() == 3
    assert dict(call.trailing_metadata())["x-trace-id"] == "a" * 32


def test_an_error_has_its_details(channel: Any, alice: Caller, settings: Any) -> None:
    stub, metadata = TaskServiceStub(channel), metadata_of(alice)
    with pytest.raises(grpc.RpcError) as caught:
        stub.SubmitTask(pb.SubmitTaskRequest(task=pb.NewTask(actor="act", priority=99, queue="")), metadata=metadata)
    assert refused(caught.value) == ("INVALID_ARGUMENT", "INVALID", ["priority", "queue"], 0)
    settings.SUBMIT_RATE_LIMIT = "1/m"
    stub.SubmitTask(pb.SubmitTaskRequest(task=GOOD), metadata=metadata)
    with pytest.raises(grpc.RpcError) as caught:
        stub.SubmitTask(pb.SubmitTaskRequest(task=GOOD), metadata=metadata)
    limited = refused(caught.value)
    assert limited[:2] == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert 0 < limited.retry_seconds <= 60
    # As many as a client takes, and not all thousand.
    many = [pb.NewTask(actor="x" * 200, queue="\n" * 200) for _ in range(1000)]
    settings.SUBMIT_RATE_LIMIT = None
    (answer,) = stub.SubmitTasks(iter([pb.SubmitTasksRequest(tasks=many)]), metadata=metadata)
    assert 0 < answer.error.ByteSize() < 8_000


def test_health_is_open_and_the_rest_is_not(channel: Any, alice: Caller) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ("", *SERVICES):
        assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == serving
    assert code_of(health.Check, health_pb2.HealthCheckRequest(service="x")) == "NOT_FOUND"
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == serving
    watch.cancel()
    assert code_of(TaskServiceStub(channel).ListTasks, pb.ListTasksRequest()) == "UNAUTHENTICATED"
    assert code_of(TaskServiceStub(channel).SubmitTasks, iter([])) == "UNAUTHENTICATED"
    reflection = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    assert code_of(reflection, iter([b""])) == "UNAUTHENTICATED"

    class WithToken(grpc.StreamStreamClientInterceptor):
        def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
            return continuation(client_call_details._replace(metadata=metadata_of(alice)), request_iterator)

    known = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, WithToken()))
    assert set(SERVICES) <= set(known.get_services())
    assert known.FindFileContainingSymbol("callboard.v1.TaskService").name == "callboard/v1/task.proto"


def test_bad_input_gets_a_status_and_the_server_stays_well(address: str, channel: Any, alice: Caller) -> None:
    metadata = metadata_of(alice)

    def send(raw: bytes, method: str = "SubmitTask", **more: Any) -> str:
        return code_of(channel.unary_unary(f"{PATH}{method}"), raw, metadata=metadata, **more)

    whole = pb.SubmitTaskRequest(task=GOOD).SerializeToString()
    deep = pb.SubmitTaskRequest(task=pb.NewTask(actor="act", payload='{"a":' * 5_000)).SerializeToString()
    assert send(whole[:-3]) == "INVALID_ARGUMENT"
    assert send(b"\xff" * 100) == "INVALID_ARGUMENT"
    assert send(b"\x0b" * 10_000) == "INVALID_ARGUMENT"
    assert send(b"\x0a\x04\x0a\x02\xc3\x28") == "INVALID_ARGUMENT"  # invalid UTF-8
    assert send(whole + b"\xf8\x7f\x01") == "INVALID_ARGUMENT"  # an unknown field
    assert send(deep) == "INVALID_ARGUMENT"
    assert send(b"\x08\x63", "ListTasks") == "INVALID_ARGUMENT"  # an unknown status
    assert send(b"x" * (5 * 1024 * 1024)) == "RESOURCE_EXHAUSTED"
    assert send(whole, timeout=0.000001) == "DEADLINE_EXCEEDED"
    assert send(whole, "NoSuchMethod") == "UNIMPLEMENTED"
    flood = [(f"x-{n}", "y" * 1000) for n in range(200)]
    assert code_of(channel.unary_unary(f"{PATH}ListTasks"), b"", metadata=flood) in {
        "RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL",
    }  # fmt: skip
    with socket.create_connection(address.split(":")) as raw:  # type: ignore[arg-type]
        raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\xff\xff")
    assert not Task.objects.exists()
    assert send(whole) == "OK"


def test_calls_beyond_the_limit_and_silent_streams_are_ended(
    channel: Any, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, metadata = TaskServiceStub(channel), metadata_of(alice)
    with monkeypatch.context() as patch:
        patch.setattr(server_module, "conf", SimpleNamespace(GRPC_MAX_CALLS=0))
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListTasks(pb.ListTasksRequest(), metadata=metadata)
    assert refused(caught.value) == ("UNAVAILABLE", "NOT_READY", [], 5)
    monkeypatch.setattr(server_module, "STREAM_SECONDS", 0.05)
    ended = threading.Event()

    def nothing() -> Iterator[Any]:
        ended.wait(30)
        yield from ()

    silent = stub.SubmitTasks(nothing(), metadata=metadata)
    assert code_of(lambda: silent) == "DEADLINE_EXCEEDED"
    ended.set()


def test_a_client_that_never_reads_is_given_up(
    channel: Any, alice: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "STREAM_SECONDS", 0.2)
    caplog.set_level("INFO")
    wanted = ServerReflectionRequest(file_containing_symbol=SERVICES[0]).SerializeToString()
    reflection = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    unread = reflection((wanted for _ in range(10_000)), metadata=metadata_of(alice))
    wait_until(lambda: "DEADLINE_EXCEEDED" in caplog.text, timeout=30, what="the end of the stream")
    unread.cancel()
    TaskServiceStub(channel).ListTasks(pb.ListTasksRequest(), metadata=metadata_of(alice))


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_with_a_ca_only_clients_with_its_certificate_are_served(
    transactional_db: None, alice: Caller, settings: Any, tmp_path: Path
) -> None:
    key, certificate = (tmp_path / name for name in ("key.pem", "certificate.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-keyout", key, "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    settings.GRPC_TLS_CERTIFICATE, settings.GRPC_TLS_KEY = str(certificate), str(key)
    settings.GRPC_TLS_CLIENT_CA = str(certificate)
    ca, mine = certificate.read_bytes(), key.read_bytes()
    found = []
    with served() as address:
        for credentials in (
            grpc.ssl_channel_credentials(ca, mine, ca),
            grpc.ssl_channel_credentials(ca),
            None,
        ):
            channel = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
            with channel:
                call = TaskServiceStub(channel).ListTasks
                found.append(code_of(call, pb.ListTasksRequest(), metadata=metadata_of(alice), timeout=20))
    assert found == ["OK", "UNAVAILABLE", "UNAVAILABLE"]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"GRPC_TLS_CERTIFICATE": "/nowhere"}, "GRPC_TLS_CERTIFICATE and GRPC_TLS_KEY: expected both or none"),
        ({"GRPC_TLS_CLIENT_CA": "/nowhere"}, "GRPC_TLS_CERTIFICATE and GRPC_TLS_KEY: expected both or none"),
        ({"GRPC_TLS_CERTIFICATE": "/nowhere", "GRPC_TLS_KEY": "/nowhere"}, "GRPC_TLS_CERTIFICATE: expected a readable"),
    ],
)
def test_a_wrong_setting_of_tls_is_named(settings: Any, values: dict[str, str], wanted: str) -> None:
    for name, value in values.items():
        setattr(settings, name, value)
    with pytest.raises(ImproperlyConfigured, match=wanted):
        server_credentials()


@pytest.mark.django_db
def test_a_deadline_cancels_the_statement(alice: Caller) -> None:
    def sleep(*_: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")

    method = dataclasses.replace(METHODS[f"{PATH}ListTasks"], answer=sleep)
    started = time.monotonic()
    found = calls.answer(method, b"", Origin(dict(metadata_of(alice)), "127.0.0.1", ends_at=started + 0.2))
    assert found.error is not None
    assert found.error.code == "too_slow"
    assert time.monotonic() - started < 20
    over = calls.answer(method, b"", Origin(dict(metadata_of(alice)), "127.0.0.1", ends_at=started))
    assert over.error is not None
    assert over.error.code == "too_slow"


def test_peers_are_read() -> None:
    assert peer_address("ipv4:127.0.0.1:5000") == "127.0.0.1"
    assert peer_address("ipv6:%5B::1%5D:5000") == "::1"
    assert peer_address("ipv6:[fe80::1%25eth0]:5000") == "fe80::1"
    assert peer_address("unix:") == ""
