"""``make load``: Locust's users submit tasks to a running stack by HTTP and gRPC; its page is on port 8089.

Without the page: ``make load ARGS="--headless --users 20 --run-time 10m"``. The stack is that of ``make run`` unless
``--host`` and ``GRPC_ADDRESS`` name others; ``API_TOKEN`` is a token whose submissions are not limited. Started with
``BROKER_URL=amqp://…``, the stack uses RabbitMQ; the load is the same.

Two rows of the table are no calls: ``submit to start`` is how long tasks waited, and ``submit to end`` until they had
ended, by the times in their rows.
"""

import json
import os
import sys
import time
from collections import deque
from datetime import datetime
from typing import Any

import grpc
import grpc.experimental.gevent
from locust import FastHttpUser, User, constant_throughput, events, task

from tasks.rpc.generated import task_pb2, task_pb2_grpc

#: Of each user, calls a second.
CALLS_PER_SECOND = 10
CALL_SECONDS = 10
#: A task is read this long after its submission; by then it has ended, unless the stack is behind.
SETTLING_SECONDS = 2.0
MOST_REMEMBERED = 200
BULK = 20

# Locust's users are greenlets; without this a call of gRPC would stop them all.
grpc.experimental.gevent.init_gevent()

#: Tasks of all users that are still to be read: when they were submitted, and their addresses.
_submitted: deque[tuple[float, str]] = deque(maxlen=MOST_REMEMBERED)


@events.init.add_listener
def check_token(**_: Any) -> None:
    """End with a sentence if there is no token: every call would be a 401."""
    if not os.environ.get("API_TOKEN"):
        sys.exit("expected a token in API_TOKEN; make run prints one")


def new_task(number: int) -> dict[str, Any]:
    """Make a task; one in ten sleeps for a moment, and priorities differ."""
    actor, payload = ("sleep", {"duration": 0.02}) if number % 10 == 0 else ("echo", {"message": f"load {number}"})
    return {"actor": actor, "payload": payload, "priority": (2, 5, 5, 9)[number % 4], "tags": ["load"]}


class HttpClient(FastHttpUser):
    """Submits single tasks and bulks by HTTP, and reads some of them."""

    host = "http://127.0.0.1:8000"
    weight = 3
    wait_time = constant_throughput(CALLS_PER_SECOND)
    network_timeout = connection_timeout = CALL_SECONDS

    def on_start(self) -> None:
        """Count from one."""
        self.number = 0

    @task(16)
    def submit(self) -> None:
        """Submit one task."""
        self.number += 1
        with self._call("POST", "/api/v1/tasks", json=new_task(self.number)) as answer:
            if answer.status_code == 201:
                _submitted.append((time.monotonic(), f"/api/v1/tasks/{answer.json()['id']}"))
                answer.success()

    @task(1)
    def submit_many(self) -> None:
        """Submit a bulk."""
        body = {"tasks": [new_task(number) for number in range(BULK)]}
        with self._call("POST", "/api/v1/tasks/bulk", json=body):
            pass

    @task(3)
    def read(self) -> None:
        """Read a task that has had time to end, and note how long it waited."""
        if not _submitted or time.monotonic() - _submitted[0][0] < SETTLING_SECONDS:
            return
        _, address = _submitted.popleft()
        with self._call("GET", address, name="/api/v1/tasks/[id]") as answer:
            if answer.status_code == 200:
                self._note_times(answer.json())

    def _call(self, method: str, address: str, **arguments: Any) -> Any:
        headers = {"Authorization": f"Bearer {os.environ['API_TOKEN']}"}
        return self.client.request(method, address, headers=headers, catch_response=True, **arguments)

    def _note_times(self, row: dict[str, Any]) -> None:
        created = datetime.fromisoformat(row["created_at"])
        for name, moment in (("submit to start", row["started_at"]), ("submit to end", row["finished_at"])):
            late = None if moment is None else (datetime.fromisoformat(moment) - created).total_seconds() * 1000
            error = None if late is not None else TimeoutError(f"not within {SETTLING_SECONDS:g} s")
            events.request.fire(
                request_type="task", name=name, response_time=late or 0.0, response_length=0, exception=error
            )


class GrpcClient(User):
    """Submits single tasks by gRPC."""

    weight = 1
    wait_time = constant_throughput(CALLS_PER_SECOND)

    def on_start(self) -> None:
        """Open a channel."""
        self.number = 0
        self._channel = grpc.insecure_channel(os.environ.get("GRPC_ADDRESS", "127.0.0.1:50051"))
        self._tasks = task_pb2_grpc.TaskServiceStub(self._channel)

    def on_stop(self) -> None:
        """Close the channel."""
        self._channel.close()

    @task
    def submit(self) -> None:
        """Submit one task."""
        self.number += 1
        fields = new_task(self.number)
        fields["payload"] = json.dumps(fields["payload"])
        began, error = time.perf_counter(), None
        try:
            self._tasks.SubmitTask(
                task_pb2.SubmitTaskRequest(task=task_pb2.NewTask(**fields)),
                metadata=(("authorization", f"Bearer {os.environ['API_TOKEN']}"),),
                timeout=CALL_SECONDS,
            )
        except grpc.RpcError as caught:
            error = caught
        late = (time.perf_counter() - began) * 1000
        events.request.fire(
            request_type="gRPC", name="SubmitTask", response_time=late, response_length=0, exception=error
        )
