"""The gRPC API as users see it: ``rungrpc``'s process, called over a channel, with every submission in the history."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import grpc

from tasks.rpc.generated import task_pb2 as pb
from tasks.rpc.generated.task_pb2_grpc import TaskServiceStub
from tests.acceptance.harness.history import History, Submission

#: A stream that breaks is noticed at once; this ends one that nobody answers.
TIMEOUT_SECONDS = 20
_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]


class GrpcApi:
    """A channel to one server and its successors on the same port."""

    def __init__(self, port: int, *, token: str, history: History) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS)
        self._stub = TaskServiceStub(self._channel)
        self._metadata = [("authorization", f"Bearer {token}")]
        self._history = history
        self._named = 0
        #: How often a stream ended before all of its chunks had an answer.
        self.broken_streams = 0

    def submit(self, actor: str, *, chunks: int, count: int, tries: int, **payload: Any) -> bool:
        """Submit chunks of tasks by SubmitTasks; those without an answer are sent again under their keys.

        Each chunk is a submission of the history, with its last answer. Returns whether all were accepted.
        """
        open_ones = [self._chunk(actor, count, payload) for _ in range(chunks)]
        for _ in range(tries):
            open_ones = open_ones[self._stream(open_ones) :]
            if not open_ones:
                return True
            self.broken_streams += 1
        for one in open_ones:
            self._history.submissions.append(Submission(one.idempotency_key, "unknown", count))
        return False

    def _chunk(self, actor: str, count: int, payload: dict[str, Any]) -> pb.SubmitTasksRequest:
        self._named += 1
        name = f"chunk-{self._named}"
        task = pb.NewTask(actor=actor, payload=json.dumps(payload), tags=[name])
        return pb.SubmitTasksRequest(tasks=[task] * count, idempotency_key=name)

    def _stream(self, chunks: Sequence[pb.SubmitTasksRequest]) -> int:
        """Send chunks in one stream; return how many of them were answered."""
        answered = 0
        try:
            for asked, answer in zip(chunks, self._answers(chunks), strict=False):
                assert not answer.error.code, answer.error
                ids = tuple(one.id for one in answer.tasks)
                self._history.submissions.append(Submission(asked.idempotency_key, "ok", len(asked.tasks), ids))
                answered += 1
        except grpc.RpcError:
            pass
        return answered

    def _answers(self, chunks: Sequence[pb.SubmitTasksRequest]) -> Iterator[pb.SubmitTasksResponse]:
        # It waits for a server that is about to start again.
        yield from self._stub.SubmitTasks(
            iter(chunks), metadata=self._metadata, timeout=TIMEOUT_SECONDS, wait_for_ready=True
        )

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()
