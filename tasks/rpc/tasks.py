"""The methods of tasks: each validates, calls one verb and writes the answer."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from tasks import lifecycle
from tasks.contract import workflows
from tasks.contract.access import (
    CANCEL_TASK,
    DELETE_TASK,
    EDIT_TASK,
    RETRY_TASK,
    SIGNAL_TASK,
    SUBMIT_TASK,
    VIEW_TASK,
    Action,
    find_owned,
    visible,
)
from tasks.contract.dependencies import parents_of
from tasks.contract.events import Position, last_event
from tasks.contract.filters import filtered
from tasks.contract.idempotency_key import take_key
from tasks.contract.pages import page
from tasks.contract.sight import Lens
from tasks.contract.submission_requests import read_many, read_one
from tasks.contract.submissions import checked_edit, hiding_holders, read_change
from tasks.contract.tasks import (
    BY_NUMBER,
    UNSEEN,
    UNSEEN_WITH_LOG,
    attempt_as_dict,
    filters_for,
    receipt_as_list,
    result_as_dict,
    running_attempt,
    task_as_dict,
)
from tasks.contract.watching import hub
from tasks.errors import FieldError, InvalidQuery
from tasks.models import Task
from tasks.queries.forecast import Forecast, expected_start
from tasks.rpc import changes
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.generated import task_pb2 as pb
from tasks.rpc.messages import as_parameters
from tasks.rpc.pages import page_as_dict

#: Of one call of WatchTasks.
MOST_WATCHED = 100


def submit_task(call: Call, asked: Values) -> Mapping[str, Any]:
    """Submit one task."""
    key = take_key(asked)
    submission = read_one(asked.get("task", {}), caller=call.caller)
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
    submissions = read_many(asked, caller=call.caller)
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


def edit_task(call: Call, asked: Values) -> Mapping[str, Any]:
    """Change some fields of a waiting task."""
    task, by = _find(call, asked, EDIT_TASK), call.author(asked)
    change = checked_edit(
        read_change(changes.read_change(asked.get("change", {}))), task=task, caller=call.caller, lens=_lens(call, task)
    )
    lifecycle.edit(task.pk, change, by=by, admit=call.limit)
    return {"task": _written(call, _find(call, asked, EDIT_TASK))}


def delete_task(call: Call, asked: Values) -> Mapping[str, Any]:
    """Delete a task that is not running; its dead letters and history stay."""
    lifecycle.delete(_find(call, asked, DELETE_TASK).pk, by=call.author(asked))
    return {}


def signal_task(call: Call, asked: Values) -> Mapping[str, Any]:
    """Give a task a signal; it is kept if the task does not wait for it yet."""
    task, by = _find(call, asked, SIGNAL_TASK), call.author(asked)
    lifecycle.signal(task.pk, asked.get("signal", ""), asked.get("payload"), by=by)
    return {"task": _written(call, _find(call, asked, SIGNAL_TASK))}


def list_attempts(call: Call, asked: Values) -> Mapping[str, Any]:
    """List the attempts of a task, oldest first; the last one may be running."""
    task = _find(call, asked, VIEW_TASK, unseen=UNSEEN_WITH_LOG)
    parameters = as_parameters(asked, without="id")
    rows = filtered(task.attempts.all(), parameters, {})
    found = page(rows, parameters, order=BY_NUMBER, tail=running_attempt(task))
    return page_as_dict("attempts", found, partial(attempt_as_dict, lens=_lens(call, task)))


def list_workflow(call: Call, asked: Values) -> Mapping[str, Any]:
    """List the tasks that are linked to a task by dependencies, oldest first."""
    task, parameters = _find(call, asked, VIEW_TASK), as_parameters(asked, without="id")
    workflow = workflows.seen_workflow(task, caller=call.caller, view=VIEW_TASK)
    found = page(filtered(workflows.nodes(workflow), parameters, {}), parameters, order=workflows.OLDEST_FIRST)
    write = partial(workflows.node_as_dict, url=str, parents=parents_of(found.rows))
    whole = {**workflows.summary(workflow, caller=call.caller, url=str)}
    batches = [batch["id"] for batch in whole.pop("batches")]
    return {**page_as_dict("workflow", found, write), **whole, "batch_ids": batches}


def get_result(call: Call, asked: Values) -> Mapping[str, Any]:
    """Read the result of a task."""
    return result_as_dict(_find(call, asked, VIEW_TASK), sees=call.sees)


def _find(call: Call, asked: Values, action: Action, *, unseen: Sequence[str] = UNSEEN) -> Task:
    rows = Task.objects.defer(*unseen)
    return find_owned(rows, asked.get("id", ""), call.caller, action, view=VIEW_TASK, kind="task")


def _lens(call: Call, task: Task) -> Lens:
    return Lens(call.sees(task.owner_id), task)


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
    "EditTask": Method(EDIT_TASK, edit_task, pb.EditTaskRequest, pb.EditTaskResponse),
    "DeleteTask": Method(DELETE_TASK, delete_task, pb.DeleteTaskRequest, pb.DeleteTaskResponse),
    "SignalTask": Method(SIGNAL_TASK, signal_task, pb.SignalTaskRequest, pb.SignalTaskResponse),
    "ListAttempts": Method(VIEW_TASK, list_attempts, pb.ListAttemptsRequest, pb.ListAttemptsResponse),
    "ListWorkflow": Method(VIEW_TASK, list_workflow, pb.ListWorkflowRequest, pb.ListWorkflowResponse),
    "GetResult": Method(VIEW_TASK, get_result, pb.GetResultRequest, pb.GetResultResponse),
    "WatchTask": Method(VIEW_TASK, watch_task, pb.WatchTaskRequest, pb.WatchTaskResponse, is_watch=True),
    "WatchTasks": Method(VIEW_TASK, watch_tasks, pb.WatchTasksRequest, pb.WatchTasksResponse, is_watch=True),
}
