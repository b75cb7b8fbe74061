"""The REST API of operations, acts on many rows: begin, list, read, change the pace, pause, resume, cancel, undo."""

from collections.abc import Callable, Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api.addresses import page_as_dict, parameters, urls_of
from tasks.api.authors import author_of, read_author
from tasks.api.parsers import read_object
from tasks.api.permissions import caller_of
from tasks.api.views import ApiView
from tasks.contract import journal
from tasks.contract import operations as contract
from tasks.contract.access import BEGIN_OPERATION, CHANGE_OPERATION, VIEW_OPERATION
from tasks.contract.filters import filtered
from tasks.contract.pages import page
from tasks.lifecycle import operations
from tasks.models import Operation


class OperationList(ApiView):
    """``GET operations`` lists, ``POST operations`` begins one."""

    actions = {"GET": VIEW_OPERATION, "POST": BEGIN_OPERATION}

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any]:
        """Suggest a careful re-drive."""
        return {"verb": "redrive", "filter": {"actor": "echo"}, "canary": 5, "rate_per_second": 20, "preview": True}

    def get(self, request: Request) -> Response:
        """List operations, newest first."""
        asked, url = parameters(request), urls_of(request, "api-operations")
        found = page(filtered(contract.visible_operations(caller_of(request)), asked, contract.FILTERS), asked)
        return Response(page_as_dict(request, found, lambda one: contract.operation_as_dict(one, url=url)))

    def post(self, request: Request) -> Response:
        """Begin an operation on the rows that match a filter now, or on those with these ids."""
        body, caller = read_object(request), caller_of(request)
        by = author_of(request, journal.take_reason(body))
        written = _written(request, contract.begin(body, caller=caller, by=by))
        return Response(written, status=201, headers={"Location": written["url"]})


class OperationDetail(ApiView):
    """``GET`` and ``PATCH operations/{id}``."""

    actions = {"GET": VIEW_OPERATION, "PATCH": CHANGE_OPERATION}

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any]:
        """Suggest to halve the rate."""
        return {"rate_per_second": (answer.get("rate_per_second") or 20) / 2}

    def get(self, request: Request, operation_id: str) -> Response:
        """Read one operation."""
        return Response(_written(request, contract.find_operation(caller_of(request), operation_id)))

    def patch(self, request: Request, operation_id: str) -> Response:
        """Change how fast an operation goes, or when it stops by itself."""
        operation = contract.find_to_change(caller_of(request), operation_id)
        change, reason = contract.read_pace(read_object(request))
        return Response(_written(request, operations.set_pace(operation.pk, change, by=author_of(request, reason))))


class OperationItems(ApiView):
    """``GET operations/{id}/items``."""

    actions = {"GET": VIEW_OPERATION}

    def get(self, request: Request, operation_id: str) -> Response:
        """List the rows of an operation in the order in which they are done, and what became of each."""
        operation = contract.find_operation(caller_of(request), operation_id)
        asked, task_url = parameters(request), urls_of(request, "api-tasks")
        found = page(filtered(operation.items.all(), asked, contract.ITEM_FILTERS), asked, order=contract.IN_ORDER)
        return Response(page_as_dict(request, found, lambda item: contract.item_as_dict(item, task_url=task_url)))


class _OperationVerb(ApiView):
    """A verb on one operation, which takes nothing but a reason."""

    actions = {"POST": CHANGE_OPERATION}

    def act(self, request: Request, operation_id: str, verb: Callable[..., Operation]) -> Response:
        """Do it and write the operation."""
        operation = contract.find_to_change(caller_of(request), operation_id)
        return Response(_written(request, verb(operation.pk, by=read_author(request))))


class OperationPause(_OperationVerb):
    """``POST operations/{id}/pause``."""

    def post(self, request: Request, operation_id: str) -> Response:
        """Pause an operation; once this has answered, it changes nothing until it is resumed."""
        return self.act(request, operation_id, operations.pause)


class OperationResume(_OperationVerb):
    """``POST operations/{id}/resume``."""

    def post(self, request: Request, operation_id: str) -> Response:
        """Start a preview, let a paused or stopped operation go on, or go on without waiting for the canary."""
        return self.act(request, operation_id, operations.resume)


class OperationCancel(_OperationVerb):
    """``POST operations/{id}/cancel``."""

    def post(self, request: Request, operation_id: str) -> Response:
        """Cancel an operation; what it has done stays done."""
        return self.act(request, operation_id, operations.cancel)


class OperationUndo(ApiView):
    """``POST operations/{id}/undo``."""

    actions = {"POST": BEGIN_OPERATION}

    def post(self, request: Request, operation_id: str) -> Response:
        """Undo a discard that has ended: begin an operation that restores the dead letters that it discarded."""
        caller = caller_of(request)
        operation = contract.find_operation(caller, operation_id)
        written = _written(request, contract.undo(operation, caller=caller, by=read_author(request)))
        return Response(written, status=201, headers={"Location": written["url"]})


def _written(request: Request, operation: Operation) -> dict[str, Any]:
    return contract.operation_as_dict(operation, url=urls_of(request, "api-operations"))
