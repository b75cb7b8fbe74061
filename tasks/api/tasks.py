"""The REST API of tasks: each view validates, calls one verb and writes the answer."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from tasks import lifecycle
from tasks.api.addresses import page_as_dict, parameters, urls_of
from tasks.api.authors import author_of, read_author, read_author_and_extent
from tasks.api.events import WAITS, when_ended
from tasks.api.examples import EXAMPLES
from tasks.api.idempotency_key import key_in_header
from tasks.api.parsers import read_object
from tasks.api.permissions import caller_of, find_row
from tasks.api.preconditions import etag, unchanged
from tasks.api.views import ApiView
from tasks.contract import workflows
from tasks.contract.access import (
    CANCEL_TASK,
    DELETE_TASK,
    EDIT_TASK,
    RETRY_TASK,
    SUBMIT_TASK,
    VIEW_TASK,
    Action,
    visible,
)
from tasks.contract.dependencies import parents_of
from tasks.contract.filters import filtered
from tasks.contract.idempotency_key import take_key
from tasks.contract.journal import take_reason
from tasks.contract.pages import page
from tasks.contract.rate_limit import SubmissionLimit
from tasks.contract.sight import Lens, Sees, sight_of
from tasks.contract.submission_requests import read_many, read_one
from tasks.contract.submissions import (
    checked_edit,
    hiding_holders,
    read_change,
    read_replacement,
)
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
from tasks.lifecycle import Author, Receipt
from tasks.lifecycle.submit_unique import CREATED
from tasks.models import Task, TaskQuerySet
from tasks.queries.forecast import Forecast, expected_start
from tasks.submission import EDITABLE


class TaskList(ApiView):
    """``GET tasks`` lists, ``POST tasks`` submits one."""

    actions = {"GET": VIEW_TASK, "POST": SUBMIT_TASK}

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any]:
        """Suggest the first example of a submission."""
        return EXAMPLES["submitTask"]["Run at once"]

    def get(self, request: Request) -> Response:
        """List tasks, newest first."""
        return task_page(request, Task.objects.all())

    def post(self, request: Request) -> HttpResponseBase:
        """Submit one task; with ``wait``, answer when it has ended, or when that many seconds are over.

        The head of the answer, with the ``Location``, comes at once. The body is the task as it stands then. ``Prefer:
        wait=10`` (RFC 7240) says the same as ``wait=10``; ``Preference-Applied`` tells that the answer waits.
        """
        return when_ended(request, self._submit) if any(map(request.META.get, WAITS)) else self._submit(request)

    def _submit(self, request: Request) -> Response:
        body, caller, url = read_object(request), caller_of(request), urls_of(request, "api-tasks")
        key, limit = take_key(body, in_header=key_in_header(request)), SubmissionLimit(caller)
        submission = read_one(body, caller=caller)
        if key is None:
            with hiding_holders(caller):
                task = lifecycle.submit(submission, admit=limit)
            written = task_as_dict(task, url=url, sees=sight_of(caller))
            return Response(written, status=_accepted([task]), headers={"Location": written["url"], **limit.headers})
        with hiding_holders(caller):
            receipt = lifecycle.submit_once(submission, key=key, admit=limit)
        (written,) = receipt_as_list(receipt, url=url, sees=_sees(request))
        return _receipt(receipt, written, headers={"Location": written["url"], **limit.headers})


class TaskBulk(ApiView):
    """``POST tasks/bulk`` submits many tasks in one transaction: all or none."""

    actions = {"POST": SUBMIT_TASK}

    def post(self, request: Request) -> Response:
        """Submit many tasks in one transaction; the answer has the same order."""
        body, caller, url = read_object(request), caller_of(request), urls_of(request, "api-tasks")
        key, limit, sees = take_key(body, in_header=key_in_header(request)), SubmissionLimit(caller), sight_of(caller)
        submissions = read_many(body, caller=caller)
        if key is None:
            with hiding_holders(caller):
                tasks = lifecycle.submit_many(submissions, admit=limit)
            parents = parents_of(tasks)
            answers = [task_as_dict(task, url=url, sees=sees, parents=parents) for task in tasks]
            return Response({"tasks": answers}, status=_accepted(tasks), headers=limit.headers)
        with hiding_holders(caller):
            receipt = lifecycle.submit_many_once(submissions, key=key, admit=limit)
        return _receipt(receipt, {"tasks": receipt_as_list(receipt, url=url, sees=sees)}, headers=limit.headers)


class TaskDetail(ApiView):
    """``GET``, ``PUT``, ``PATCH`` and ``DELETE tasks/{id}``."""

    actions = {
        "GET": VIEW_TASK,
        "PATCH": EDIT_TASK,
        "PUT": EDIT_TASK,
        "DELETE": DELETE_TASK,
    }

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any] | None:
        """Suggest the current values; of a PATCH not those that are hidden, since it takes no null."""
        left_out = answer.get("hidden", ()) if method == "PATCH" else ()
        return {name: answer[name] for name in EDITABLE if name in answer and name not in left_out} or None

    def get(self, request: Request, task_id: str) -> Response:
        """Read one task."""
        task = find_task(request, task_id, VIEW_TASK)
        return answer(request, task, forecast=expected_start(task))

    def patch(self, request: Request, task_id: str) -> Response:
        """Change some fields of a waiting task."""
        task = find_task(request, task_id, EDIT_TASK)
        body = read_object(request)
        by, change = author_of(request, take_reason(body)), read_change(body)
        return self._edit(request, task, change, by=by)

    def put(self, request: Request, task_id: str) -> Response:
        """Replace all editable fields of a waiting task; all of them are required."""
        task = find_task(request, task_id, EDIT_TASK)
        body = read_object(request)
        by = author_of(request, take_reason(body))
        change = read_replacement(body, task=task, hidden=_lens(request, task).hidden("payload"))
        return self._edit(request, task, change, by=by)

    def delete(self, request: Request, task_id: str) -> Response:
        """Delete a task that is not running; its dead letters and history stay."""
        task = find_task(request, task_id, DELETE_TASK)
        by = read_author(request)
        with unchanged(request, task) as version:
            lifecycle.delete(task.pk, by=by, version=version)
        return Response(status=204)

    def _edit(self, request: Request, task: Task, change: dict[str, Any], *, by: Author) -> Response:
        caller = caller_of(request)
        limit = SubmissionLimit(caller)
        change = checked_edit(change, task=task, caller=caller, lens=_lens(request, task))
        with unchanged(request, task) as version:
            lifecycle.edit(task.pk, change, by=by, version=version, admit=limit)
        return answer(request, find_task(request, str(task.pk), EDIT_TASK), headers=limit.headers)


class TaskCancel(ApiView):
    """``POST tasks/{id}/cancel``."""

    actions = {"POST": CANCEL_TASK}

    def post(self, request: Request, task_id: str) -> Response:
        """Cancel a waiting task, or its whole workflow; ask running ones to stop."""
        task = find_task(request, task_id, CANCEL_TASK)
        by, is_whole = read_author_and_extent(request)
        with unchanged(request, task):
            if is_whole:
                lifecycle.cancel_workflow(
                    workflows.whole_of(task, caller=caller_of(request), action=CANCEL_TASK), by=by
                )
            else:
                lifecycle.cancel(task.pk, by=by)
        return answer(request, find_task(request, task_id, CANCEL_TASK))


class TaskRetry(ApiView):
    """``POST tasks/{id}/retry``."""

    actions = {"POST": RETRY_TASK}

    def post(self, request: Request, task_id: str) -> Response:
        """Re-run a task that died, was cancelled, or waits for a retry; or the failed part of its workflow."""
        task = find_task(request, task_id, RETRY_TASK)
        by, is_whole = read_author_and_extent(request)
        limit = SubmissionLimit(caller_of(request))
        with unchanged(request, task):
            if is_whole:
                lifecycle.retry_workflow(
                    workflows.whole_of(task, caller=caller_of(request), action=RETRY_TASK), by=by, admit=limit
                )
            else:
                lifecycle.retry(task.pk, by=by, admit=limit)
        return answer(request, find_task(request, task_id, RETRY_TASK), headers=limit.headers)


class TaskWorkflow(ApiView):
    """``GET tasks/{id}/workflow``."""

    actions = {"GET": VIEW_TASK}

    def get(self, request: Request, task_id: str) -> Response:
        """List the tasks that are linked to a task by dependencies, oldest first."""
        asked, task = parameters(request), find_task(request, task_id, VIEW_TASK)
        workflow = workflows.seen_workflow(task, caller=caller_of(request), view=VIEW_TASK)
        found = page(filtered(workflows.nodes(workflow), asked, {}), asked, order=workflows.OLDEST_FIRST)
        write = partial(workflows.node_as_dict, url=urls_of(request, "api-tasks"), parents=parents_of(found.rows))
        whole = workflows.summary(workflow, caller=caller_of(request), url=urls_of(request, "api-batches"))
        return Response({**page_as_dict(request, found, write), **whole})


class TaskAttempts(ApiView):
    """``GET tasks/{id}/attempts``."""

    actions = {"GET": VIEW_TASK}

    def get(self, request: Request, task_id: str) -> Response:
        """List the attempts of a task, oldest first; the last one may be running."""
        rows = Task.objects.defer(*UNSEEN_WITH_LOG)
        task = find_row(request, rows, task_id, VIEW_TASK, view=VIEW_TASK, kind="task")
        asked = parameters(request)
        found = page(filtered(task.attempts.all(), asked, {}), asked, order=BY_NUMBER, tail=running_attempt(task))
        return Response(page_as_dict(request, found, partial(attempt_as_dict, lens=_lens(request, task))))


class TaskResult(ApiView):
    """``GET tasks/{id}/result``."""

    actions = {"GET": VIEW_TASK}

    def get(self, request: Request, task_id: str) -> Response:
        """Read the result of a task; ``result`` is null until the task has SUCCEEDED."""
        return Response(result_as_dict(find_task(request, task_id, VIEW_TASK), sees=_sees(request)))


def task_page(request: Request, rows: TaskQuerySet) -> Response:
    """Answer the page of these tasks that the request asks for, as far as the caller may see them."""
    asked, url = parameters(request), urls_of(request, "api-tasks")
    sees, caller = _sees(request), caller_of(request)
    found = page(filtered(visible(rows.defer(*UNSEEN), caller, VIEW_TASK), asked, filters_for(caller)), asked)
    parents = parents_of(found.rows)
    return Response(page_as_dict(request, found, lambda task: task_as_dict(task, url=url, sees=sees, parents=parents)))


def find_task(request: Request, text: str, action: Action) -> Task:
    """Find the task of an address, for a caller who may see it and do this to it."""
    rows = Task.objects.defer(*UNSEEN)
    return find_row(request, rows, text, action, view=VIEW_TASK, kind="task")


def _sees(request: Request) -> Sees:
    return sight_of(caller_of(request))


def _lens(request: Request, task: Task) -> Lens:
    return Lens(_sees(request)(task.owner_id), task)


def answer(
    request: Request, task: Task, *, forecast: Forecast | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Write a task, with its ETag."""
    content = task_as_dict(task, url=urls_of(request, "api-tasks"), sees=_sees(request), forecast=forecast)
    return Response(content, headers={"ETag": etag(task), **(headers or {})})


def _receipt(receipt: Receipt, content: dict[str, Any], *, headers: dict[str, str]) -> Response:
    if receipt.is_replayed:
        return Response(content, headers={**headers, "Idempotency-Replayed": "true"})
    return Response(content, status=_accepted(receipt.tasks.values()), headers=headers)


def _accepted(tasks: Iterable[Task]) -> int:
    """Answer 201 if there is a new task, and 200 if all of them were there."""
    return 201 if any(task.submitted_as in ("", CREATED) for task in tasks) else 200
