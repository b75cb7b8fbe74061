"""Submits a task by gRPC, watches it, and prints its result."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tasks.rpc.generated import task_pb2, task_pb2_grpc

#: How long the client waits for one call.
CALL_SECONDS = 5
#: How long it waits before it asks again.
RETRY_SECONDS = 1
FINAL = {task_pb2.TASK_STATUS_SUCCEEDED, task_pb2.TASK_STATUS_DEAD, task_pb2.TASK_STATUS_CANCELLED}


class Client:
    """What a program needs of the API: submit, watch, and wait.

    Parameters:
        address: host and port of the server.
        token: an API token.
    """

    def __init__(self, address: str, *, token: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._tasks = task_pb2_grpc.TaskServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {token}"),)

    def is_serving(self) -> bool:
        """Ask the health service; it needs no token."""
        request = health_pb2.HealthCheckRequest(service="callboard.v1.TaskService")
        answer = health_pb2_grpc.HealthStub(self._channel).Check(request, timeout=CALL_SECONDS)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def submit(self, actor: str, payload: Mapping[str, Any], *, key: str | None = None, **fields: Any) -> str:
        """Submit a task and return its id.

        Parameters:
            key: makes it safe to call again after an error: the same key and content give the same task.
            fields: others of ``NewTask``, such as ``priority``.
        """
        task = task_pb2.NewTask(actor=actor, payload=json.dumps(payload), **fields)
        request = task_pb2.SubmitTaskRequest(task=task, idempotency_key=key)
        answer = self._tasks.SubmitTask(request, metadata=self._metadata, timeout=CALL_SECONDS)
        return str(answer.task.id)

    def wait(self, id: str, *, seconds: float) -> Any:
        """Wait for the end of a task and return its result.

        Raises:
            RuntimeError: it died or was cancelled.
            TimeoutError: it has not ended.
        """
        for event in self.watch(id, seconds=seconds):
            if event.type == task_pb2.EVENT_TYPE_STATUS and event.status in FINAL:
                if event.status != task_pb2.TASK_STATUS_SUCCEEDED:
                    raise RuntimeError(f"{task_pb2.TaskStatus.Name(event.status)}: {event.error.message}")
                return json.loads(event.result) if event.HasField("result") else None
        raise RuntimeError(f"task {id} is gone")

    def watch(self, id: str, *, seconds: float) -> Iterator[Any]:
        """Give the events of a task as they come, until it has ended; go on at another server if this one stops.

        Raises:
            TimeoutError: it has not ended.
        """
        deadline, last = time.monotonic() + seconds, ""
        while (left := deadline - time.monotonic()) > 0:
            request = task_pb2.WatchTaskRequest(id=id, last_event_id=last)
            try:
                for answer in self._tasks.WatchTask(request, metadata=self._metadata, timeout=left):
                    last = answer.event.id
                    yield answer.event
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                    break
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
                time.sleep(min(left, RETRY_SECONDS))
            else:
                return
        raise TimeoutError(f"task {id} has not ended after {seconds:g} s")


def main() -> None:
    """Submit one task and print its result."""
    host, port = os.environ.get("GRPC_HOST", "127.0.0.1"), os.environ.get("GRPC_PORT", "50051")
    token = os.environ.get("API_TOKEN")
    if not token:
        sys.exit("expected a token in API_TOKEN; make run prints one")
    client = Client(f"{host}:{port}", token=token)
    try:
        assert client.is_serving()
        id = client.submit("math", {"operation": "add", "a": 2, "b": 3}, priority=5, max_retries=3)
        for event in client.watch(id, seconds=30):
            sys.stdout.write(f"{task_pb2.EventType.Name(event.type)} {task_pb2.TaskStatus.Name(event.status)}\n")
        sys.stdout.write(f"{id}: {client.wait(id, seconds=30)}\n")
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")


if __name__ == "__main__":
    main()
