"""The methods of queues: read, pause, resume."""

from collections.abc import Mapping
from typing import Any

from tasks.contract.access import PAUSE_QUEUE, VIEW_QUEUE
from tasks.contract.queues import find_queue, queue_as_dict
from tasks.lifecycle import queues
from tasks.queries.queue_stats import all_queue_stats
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.generated import queue_pb2 as pb


def list_queues(call: Call, asked: Values) -> Mapping[str, Any]:
    """List queues by name, with the number of waiting tasks and the longest wait."""
    return {"queues": [queue_as_dict(stats) for stats in all_queue_stats()]}


def get_queue(call: Call, asked: Values) -> Mapping[str, Any]:
    """Read one queue."""
    return _written(asked)


def pause_queue(call: Call, asked: Values) -> Mapping[str, Any]:
    """Pause a queue: dispatch none of its tasks, and take back those that no worker has claimed."""
    queues.pause(_checked(call, asked), by=call.author(asked))
    return _written(asked)


def resume_queue(call: Call, asked: Values) -> Mapping[str, Any]:
    """Resume a queue: dispatch its tasks again, at once."""
    queues.resume(_checked(call, asked), by=call.author(asked))
    return _written(asked)


def _checked(call: Call, asked: Values) -> str:
    name = str(asked.get("name", ""))
    find_queue(name)
    call.caller.require_reach(queue=name)
    return name


def _written(asked: Values) -> Mapping[str, Any]:
    return {"queue": queue_as_dict(find_queue(asked.get("name", "")))}


METHODS = {
    "ListQueues": Method(VIEW_QUEUE, list_queues, pb.ListQueuesRequest, pb.ListQueuesResponse),
    "GetQueue": Method(VIEW_QUEUE, get_queue, pb.GetQueueRequest, pb.GetQueueResponse),
    "PauseQueue": Method(PAUSE_QUEUE, pause_queue, pb.PauseQueueRequest, pb.PauseQueueResponse),
    "ResumeQueue": Method(PAUSE_QUEUE, resume_queue, pb.ResumeQueueRequest, pb.ResumeQueueResponse),
}
