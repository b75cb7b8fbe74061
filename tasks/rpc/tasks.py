"""The methods of tasks: each validates, calls one verb and writes the answer."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from tasks import lifecycle
from tasks.contract import workflows
from tasks.contract.access import CANCEL_TASK, RETRY_TASK, SUBMIT_TASK, VIEW_TASK, Action, find_owned, visible
from tasks.contract.dependencies import check_parents, parents_of
from tasks.contract.events import Position, last_event
from tasks.contract.filters import filtered
from tasks.contract.idempotency_key import take_key
from tasks.contract.pages import page
from tasks.contract.submissions import hiding_holders, read_submission, read_submissions
from tasks.contract.tasks import UNSEEN, filters_for, receipt_as_list, result_as_dict, task_as_dict
from tasks.contract.watching import hub
from tasks.errors import FieldError, InvalidQuery
from tasks.models import Task
from tasks.queries.forecast import Forecast, expected_start
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.generated import task_pb2 as pb
from tasks.rpc.messages import as_parameters
from tasks.rpc.pages import page_as_dict

#: Of one call of WatchTasks.
MOST_WATCHED = 100


def submit_task(call: Call, asked: Values) -> Mapping[str, Any]:
    """Submit one task."""
    key = take_key(asked)
    submission = read_submission(asked.get("task", {}), caller=call.caller)
    if submission.depends_on:
        check_parents([submission], caller=call.caller)
    if key is None:
        with hiding_holders(call.caller):
            task = lifecycle.submit(submission, admit=call.limit)
        return {"task": _written(call, task)}
    with hiding_holders(call.caller):
        receipt = lifecycle.submit_once(submission, key=key, admit=call.limit)
    (written,) = receipt_as_list(receipt, url=str, sees=call.sees)
    return {"task": written, "replayed": receipt.is_replayed}


def submit_chunk(call: Call, asked: Values) -> Mapping[str, Any]:
    """Submit a chunk of tasks in one transaction; the answer has the same order."""
    key, sees = take_key(asked), call.sees
    submissions = read_submissions(asked.get("tasks", []), caller=call.caller)
    if key is None:
        with hiding_holders(call.caller):
            tasks = lifecycle.submit_many(submissions, admit=call.limit)
        parents = parents_of(tasks)
        return {"tasks": [task_as_dict(task, url=str, sees=sees, parents=parents) for task in tasks]}
    with hiding_holders(call.caller):
        receipt = lifecycle.submit_many_once(submissions, key=key, admit=call.limit)
    return {"tasks": receipt_as_list(receipt, url=str, sees=sees), "replayed": receipt.is_replayed}


def get_task(call: Call, asked: Values) -> Mapping[str, Any]:
    """Read one task."""
    task = _find(call, asked, VIEW_TASK)
    return {"task": _written(call, task, forecast=expected_start(task))}


def list_tasks(call: Call, asked: Values) -> Mapping[str, Any]:
    """List tasks, newest first."""
    parameters, sees = as_parameters(asked), call.sees
    rows = visible(Task.objects.defer(*UNSEEN), call.caller, VIEW_TASK)
    found = page(filtered(rows, parameters, filters_for(call.caller)), parameters)
    parents = parents_of(found.rows)
    return page_as_dict("tasks", found, lambda task: task_as_dict(task, url=str, sees=sees, parents=parents))


def cancel_task(call: Call, asked: Values) -> Mapping[str, Any]:
    """Cancel a waiting task, or its whole workflow; ask running ones to stop."""
    task, by = _find(call, asked, CANCEL_TASK), call.author(asked)
    if asked.get("workflow"):
        lifecycle.cancel_workflow(workflows.whole_of(task, caller=call.caller, action=CANCEL_TASK), by=by)
    else:
        lifecycle.cancel(task.pk, by=by)
    return {"task": _written(call, _find(call, asked, CANCEL_TASK))}


def retry_task(call: Call, asked: Values) -> Mapping[str, Any]:
    """Re-run a task that died, was cancelled, or waits for a retry; or the failed part of its workflow."""
    task, by = _find(call, asked, RETRY_TASK), call.author(asked)
    if asked.get("workflow"):
        ids = workflows.whole_of(task, caller=call.caller, action=RETRY_TASK)
        lifecycle.retry_workflow(ids, by=by, admit=call.limit)
    else:
        lifecycle.retry(task.pk, by=by, admit=call.limit)
    return {"task": _written(call, _find(call, asked, RETRY_TASK))}


def get_result(call: Call, asked: Values) -> Mapping[str, Any]:
    """Read the result of a task."""
    return result_as_dict(_find(call, asked, VIEW_TASK), sees=call.sees)


def _find(call: Call, asked: Values, action: Action) -> Task:
    rows = Task.objects.defer(*UNSEEN)
    return find_owned(rows, asked.get("id", ""), call.caller, action, view=VIEW_TASK, kind="task")


def _written(call: Call, task: Task, *, forecast: Forecast | None = None) -> dict[str, Any]:
    return task_as_dict(task, url=str, sees=call.sees, forecast=forecast)


def watch_task(call: Call, asked: Values) -> Mapping[str, Any]:
    """Watch one task."""
    task = _find(call, asked, VIEW_TASK)
    return {"watches": [hub.watch(task, _known(asked, task, "last_event_id"), caller=call.caller)]}


def watch_tasks(call: Call, asked: Values) -> Mapping[str, Any]:
    """Watch several tasks, all or none."""
    wanted = asked.get("tasks", [])
    if not 1 <= len(wanted) <= MOST_WATCHED:
        message = f"expected 1 to {MOST_WATCHED} tasks, got {len(wanted)}"
        raise InvalidQuery(errors=[FieldError("tasks", "invalid", message)])
    found: dict[UUID, tuple[Task, Position | None]] = {}
    for number, one in enumerate(wanted):
        task = _find(call, one, VIEW_TASK)
        if task.pk in found:
            raise InvalidQuery(errors=[FieldError(f"tasks.{number}.id", "invalid", "expected each task once")])
        found[task.pk] = task, _known(one, task, f"tasks.{number}.last_event_id")
    return {"watches": hub.watch_many(list(found.values()), caller=call.caller)}


def _known(asked: Values, task: Task, field: str) -> Position | None:
    given = asked.get("last_event_id")
    return last_event(given, task, field=field) if given else None


METHODS = {
    "SubmitTask": Method(SUBMIT_TASK, submit_task, pb.SubmitTaskRequest, pb.SubmitTaskResponse),
    "SubmitTasks": Method(SUBMIT_TASK, submit_chunk, pb.SubmitTasksRequest, pb.SubmitTasksResponse, is_stream=True),
    "GetTask": Method(VIEW_TASK, get_task, pb.GetTaskRequest, pb.GetTaskResponse),
    "ListTasks": Method(VIEW_TASK, list_tasks, pb.ListTasksRequest, pb.ListTasksResponse),
    "CancelTask": Method(CANCEL_TASK, cancel_task, pb.CancelTaskRequest, pb.CancelTaskResponse),
    "RetryTask": Method(RETRY_TASK, retry_task, pb.RetryTaskRequest, pb.RetryTaskResponse),
    "GetResult": Method(VIEW_TASK, get_result, pb.GetResultRequest, pb.GetResultResponse),
    "WatchTask": Method(VIEW_TASK, watch_task, pb.WatchTaskRequest, pb.WatchTaskResponse, is_watch=True),
    "WatchTasks": Method(VIEW_TASK, watch_tasks, pb.WatchTasksRequest, pb.WatchTasksResponse, is_watch=True),
}
