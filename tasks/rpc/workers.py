"""The methods of the worker registry."""

from collections.abc import Mapping
from typing import Any

from tasks.contract.access import DRAIN_WORKER, VIEW_TASK, VIEW_WORKER, find, visible
from tasks.contract.filters import filtered
from tasks.contract.pages import page
from tasks.contract.workers import FILTERS, worker_as_dict
from tasks.lifecycle import workers
from tasks.models import Task, Worker
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.generated import worker_pb2 as pb
from tasks.rpc.messages import as_parameters
from tasks.rpc.pages import page_as_dict


def list_workers(call: Call, asked: Values) -> Mapping[str, Any]:
    """List worker processes, newest first, including those that are gone."""
    parameters = as_parameters(asked)
    found = page(filtered(Worker.objects.all(), parameters, FILTERS), parameters)
    return page_as_dict("workers", found, worker_as_dict)


def get_worker(call: Call, asked: Values) -> Mapping[str, Any]:
    """Read one worker, with the ids of the tasks that it has claimed and the caller may see."""
    worker = _find(asked)
    running = visible(Task.objects.held_by(worker.pk), call.caller, VIEW_TASK).order_by("id")
    return {"worker": worker_as_dict(worker), "running": list(map(str, running.values_list("id", flat=True)))}


def drain_worker(call: Call, asked: Values) -> Mapping[str, Any]:
    """Ask a worker to finish its running tasks and stop."""
    worker = _find(asked)
    workers.ask_to_drain([worker.pk], by=call.author(asked))
    return {"worker": worker_as_dict(_find(asked))}


def _find(asked: Values) -> Worker:
    return find(Worker.objects.all(), asked.get("id", ""), kind="worker")


METHODS = {
    "ListWorkers": Method(VIEW_WORKER, list_workers, pb.ListWorkersRequest, pb.ListWorkersResponse),
    "GetWorker": Method(VIEW_WORKER, get_worker, pb.GetWorkerRequest, pb.GetWorkerResponse),
    "DrainWorker": Method(DRAIN_WORKER, drain_worker, pb.DrainWorkerRequest, pb.DrainWorkerResponse),
}
