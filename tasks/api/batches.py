"""The REST API of batches: each view validates, calls one verb and writes the answer."""

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api.addresses import page_as_dict, parameters, urls_of
from tasks.api.authors import read_author
from tasks.api.examples import EXAMPLES
from tasks.api.idempotency_key import key_in_header
from tasks.api.parsers import read_object
from tasks.api.permissions import caller_of, find_row
from tasks.api.tasks import task_page
from tasks.api.views import ApiView
from tasks.contract.access import CANCEL_BATCH, CLOSE_BATCH, SUBMIT_TASK, VIEW_BATCH, Action
from tasks.contract.batches import (
    FILTERS,
    batch_as_dict,
    check_reach,
    created_as_dict,
    read_batch,
    visible_batches,
)
from tasks.contract.filters import filtered
from tasks.contract.idempotency_key import take_key
from tasks.contract.pages import page
from tasks.contract.rate_limit import SubmissionLimit
from tasks.contract.submissions import hiding_holders
from tasks.lifecycle import batches
from tasks.models import Batch, Task


class BatchList(ApiView):
    """``GET batches`` lists, ``POST batches`` makes one."""

    actions = {"GET": VIEW_BATCH, "POST": SUBMIT_TASK}

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any]:
        """Suggest the first example."""
        return EXAMPLES["createBatch"]["Tasks with a callback"]

    def get(self, request: Request) -> Response:
        """List batches, newest first."""
        asked, url = parameters(request), urls_of(request, "api-batches")
        found = page(filtered(visible_batches(caller_of(request)), asked, FILTERS), asked)
        return Response(page_as_dict(request, found, lambda batch: batch_as_dict(batch, url=url)))

    def post(self, request: Request) -> Response:
        """Make a batch with its first tasks in one transaction: all or nothing."""
        body, caller, url = read_object(request), caller_of(request), urls_of(request, "api-batches")
        key, limit = take_key(body, in_header=key_in_header(request)), SubmissionLimit(caller)
        wanted = read_batch(body, caller=caller)
        with hiding_holders(caller):
            if key is None:
                created = batches.create(wanted, admit=limit)
            else:
                created = batches.create_once(wanted, key=key, admit=limit)
        written = created_as_dict(created.batch, created.task_ids, url=url)
        headers = {"Location": written["url"], **limit.headers}
        if created.is_replayed:
            return Response(written, headers={**headers, "Idempotency-Replayed": "true"})
        return Response(written, status=201, headers=headers)


class BatchDetail(ApiView):
    """``GET batches/{id}``."""

    actions = {"GET": VIEW_BATCH}

    def get(self, request: Request, batch_id: str) -> Response:
        """Read one batch."""
        return _answer(request, _find(request, batch_id, VIEW_BATCH))


class BatchTasks(ApiView):
    """``GET batches/{id}/tasks``."""

    actions = {"GET": VIEW_BATCH}

    def get(self, request: Request, batch_id: str) -> Response:
        """List the tasks of a batch that you may see, newest first."""
        batch = _find(request, batch_id, VIEW_BATCH)
        return task_page(request, Task.objects.of_batch(batch.pk))


class BatchClose(ApiView):
    """``POST batches/{id}/close``."""

    actions = {"POST": CLOSE_BATCH}

    def post(self, request: Request, batch_id: str) -> Response:
        """Let a batch take no further tasks, so that it can end; a batch that is closed stays as it is."""
        batch = _find(request, batch_id, CLOSE_BATCH)
        return _answer(request, batches.close(batch.pk, by=read_author(request)))


class BatchCancel(ApiView):
    """``POST batches/{id}/cancel``."""

    actions = {"POST": CANCEL_BATCH}

    def post(self, request: Request, batch_id: str) -> Response:
        """Close a batch and cancel its tasks; it is CANCELLED when the running ones have stopped."""
        batch = _find(request, batch_id, CANCEL_BATCH)
        by = read_author(request)
        check_reach(batch, caller_of(request))
        return _answer(request, batches.cancel(batch.pk, by=by))


def _find(request: Request, text: str, action: Action) -> Batch:
    return find_row(request, Batch.objects.with_news(), text, action, view=VIEW_BATCH, kind="batch")


def _answer(request: Request, batch: Batch) -> Response:
    return Response(batch_as_dict(batch, url=urls_of(request, "api-batches")))
