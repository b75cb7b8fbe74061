"""The REST API of workers: the registry, for staff."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api.filters import Filter, choice, filtered
from tasks.api.pagination import page
from tasks.api.serializers import timestamp
from tasks.api.views import StaffView, find, read_nothing
from tasks.lifecycle import workers
from tasks.models import Task, Worker, WorkerQuerySet
from tasks.states import WorkerStatus

FILTERS = {"status": Filter(choice(WorkerStatus), WorkerQuerySet.in_status, is_repeatable=True)}


class WorkerList(StaffView):
    """``GET workers``."""

    def get(self, request: Request) -> Response:
        """List worker processes, newest first, those that are gone too."""
        rows = filtered(Worker.objects.all(), request.GET, FILTERS)
        return Response(page(request._request, rows, shape=worker_as_dict))


class WorkerDetail(StaffView):
    """``GET`` and ``DELETE workers/{id}``."""

    def get(self, request: Request, worker_id: str) -> Response:
        """Read one worker, with the ids of the tasks that it runs."""
        worker = find(Worker.objects.all(), worker_id, kind="worker")
        running = Task.objects.held_by(worker.pk).order_by("id").values_list("id", flat=True)
        return Response(worker_as_dict(worker) | {"running": [str(task_id) for task_id in running]})

    def delete(self, request: Request, worker_id: str) -> Response:
        """Ask a worker to finish what it runs and leave: 202 until it has, then 200."""
        worker = find(Worker.objects.all(), worker_id, kind="worker")
        read_nothing(request)
        workers.ask_to_drain([worker.pk])
        worker.refresh_from_db()
        return Response(worker_as_dict(worker), status=200 if worker.status == WorkerStatus.GONE else 202)


def worker_as_dict(worker: Worker) -> dict[str, Any]:
    """Give a worker its shape on the wire."""
    return {
        "id": str(worker.pk),
        "host": worker.host,
        "pid": worker.pid,
        "status": worker.status,
        "queues": worker.queues,
        "actors": worker.actors,
        "threads": worker.threads,
        "started_at": timestamp(worker.started_at),
        "heartbeat_at": timestamp(worker.heartbeat_at),
        "lease_expires_at": timestamp(worker.lease_expires_at),
        "stopped_at": timestamp(worker.stopped_at),
    }
