"""The REST API of the worker registry."""

from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api.addresses import page_as_dict, parameters
from tasks.api.authors import read_author
from tasks.api.permissions import caller_of
from tasks.api.views import ApiView
from tasks.contract.access import DRAIN_WORKER, VIEW_TASK, VIEW_WORKER, find, visible
from tasks.contract.filters import filtered
from tasks.contract.pages import page
from tasks.contract.workers import FILTERS, worker_as_dict
from tasks.lifecycle import workers
from tasks.models import Task, Worker
from tasks.states import WorkerStatus


class WorkerList(ApiView):
    """``GET workers``."""

    actions = {"GET": VIEW_WORKER}

    def get(self, request: Request) -> Response:
        """List worker processes, newest first, including those that are gone."""
        asked = parameters(request)
        found = page(filtered(Worker.objects.all(), asked, FILTERS), asked)
        return Response(page_as_dict(request, found, worker_as_dict))


class WorkerDetail(ApiView):
    """``GET`` and ``DELETE workers/{id}``."""

    actions = {"GET": VIEW_WORKER, "DELETE": DRAIN_WORKER}

    def get(self, request: Request, worker_id: str) -> Response:
        """Read one worker, with the ids of the tasks that it has claimed and you may see."""
        worker = find(Worker.objects.all(), worker_id, kind="worker")
        running = visible(Task.objects.held_by(worker.pk), caller_of(request), VIEW_TASK).order_by("id")
        ids = [str(task_id) for task_id in running.values_list("id", flat=True)]
        return Response(worker_as_dict(worker) | {"running": ids})

    def delete(self, request: Request, worker_id: str) -> Response:
        """Ask a worker to finish its running tasks and stop; the answer is 202 until it has stopped, then 200."""
        worker = find(Worker.objects.all(), worker_id, kind="worker")
        workers.ask_to_drain([worker.pk], by=read_author(request))
        worker = find(Worker.objects.all(), worker_id, kind="worker")
        return Response(worker_as_dict(worker), status=200 if worker.status == WorkerStatus.GONE else 202)
