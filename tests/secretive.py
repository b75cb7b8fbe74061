"""A dead task that holds a secret in every place that has data, and the places where doors show them."""

from dlq.models import DeadLetter, FailureDelta
from tasks.models import Attempt, Journal, Task, Worker
from tasks.states import ObjectKind, Status
from tests import factories

SECRET = "hunter2-s3cr3t"
#: Texts that name no secret; only the payload tells that it is one.
PLAIN = f"cannot log in with {SECRET}"
PAYLOAD = {"do": "return", "value": {"password": SECRET, "headers": [["Authorization", f"Bearer {SECRET}"]], "n": 1}}


def make(worker: Worker, *, owner_id: int | None = None, status: Status = Status.DEAD) -> Task:
    """Make the task; its actor, queue and error type hold no secret."""
    task = factories.make_task(status, worker=worker, owner_id=owner_id)
    data = {"said": PLAIN, "token": SECRET}
    progress = {"done": 1, "total": None, "note": PLAIN}
    lines = {"attempt": 1, "dropped": 0, "lines": [{"at": "2030-01-31T09:00:00+00:00", "line": PLAIN}]}
    Task.objects.filter(pk=task.pk).update(
        payload=PAYLOAD, progress=progress, checkpoint=data, log=lines, result=data, error=f"ValueError: {PLAIN}"
    )
    error = {"error_type": "ValueError", "error_message": PLAIN}
    Attempt.objects.filter(task_id=task.pk).update(
        **error, log=lines, traceback=f"Traceback\n  login({SECRET!r})\nValueError: {PLAIN}", note=f"dropped: {PLAIN}"
    )
    DeadLetter.objects.filter(task_id=task.pk).update(**error)
    FailureDelta.objects.filter(task_id=task.pk).update(**error)
    Journal.objects.create(
        task_id=task.pk,
        kind=ObjectKind.TASK,
        object_id=str(task.pk),
        verb="edit",
        by="ada",
        detail={"reason": f"password={SECRET}"},
    )
    task.refresh_from_db()
    return task
