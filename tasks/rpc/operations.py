"""The methods of operations, acts on many rows: begin, list, read, change the pace, pause, resume, cancel, undo."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tasks.contract import operations as contract
from tasks.contract.access import BEGIN_OPERATION, CHANGE_OPERATION, VIEW_OPERATION
from tasks.contract.filters import filtered
from tasks.contract.pages import page
from tasks.lifecycle import operations
from tasks.models import Operation
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.changes import change_as_dict, read_change
from tasks.rpc.generated import operation_pb2 as pb
from tasks.rpc.messages import as_parameters, take_cleared
from tasks.rpc.pages import page_as_dict


def begin_operation(call: Call, asked: Values) -> Mapping[str, Any]:
    """Begin an operation on the rows that match a filter now, or on those with these ids."""
    by = call.author(asked)
    if "filter" in asked:
        asked["filter"] = {name: one.get("values", []) for name, one in asked["filter"].items()}
    if "change" in asked:
        asked["change"] = read_change(asked["change"])
    return _answer(contract.begin(asked, caller=call.caller, by=by))


def list_operations(call: Call, asked: Values) -> Mapping[str, Any]:
    """List operations, newest first."""
    parameters = as_parameters(asked)
    found = page(filtered(contract.visible_operations(call.caller), parameters, contract.FILTERS), parameters)
    return page_as_dict("operations", found, _as_dict)


def get_operation(call: Call, asked: Values) -> Mapping[str, Any]:
    """Read one operation."""
    return _answer(contract.find_operation(call.caller, asked.get("id", "")))


def change_operation(call: Call, asked: Values) -> Mapping[str, Any]:
    """Change how fast an operation goes, or when it stops by itself."""
    operation, by = contract.find_to_change(call.caller, asked.pop("id", "")), call.author(asked)
    change, _ = contract.read_pace(take_cleared(asked, asked))
    return _answer(operations.set_pace(operation.pk, change, by=by))


def list_operation_items(call: Call, asked: Values) -> Mapping[str, Any]:
    """List the rows of an operation in the order in which they are done, and what became of each."""
    operation = contract.find_operation(call.caller, asked.get("id", ""))
    parameters = as_parameters(asked, without="id")
    rows = filtered(operation.items.all(), parameters, contract.ITEM_FILTERS)
    found = page(rows, parameters, order=contract.IN_ORDER)
    return page_as_dict("items", found, partial(contract.item_as_dict, task_url=str))


def _acting(verb: Callable[..., Operation]) -> Callable[[Call, Values], Mapping[str, Any]]:
    """Do a verb to one operation, which takes nothing but a reason."""

    def act(call: Call, asked: Values) -> Mapping[str, Any]:
        operation = contract.find_to_change(call.caller, asked.get("id", ""))
        return _answer(verb(operation.pk, by=call.author(asked)))

    return act


def undo_operation(call: Call, asked: Values) -> Mapping[str, Any]:
    """Undo a discard that has ended: begin an operation that restores the dead letters that it discarded."""
    operation = contract.find_operation(call.caller, asked.get("id", ""))
    return _answer(contract.undo(operation, caller=call.caller, by=call.author(asked)))


def _answer(operation: Operation) -> Mapping[str, Any]:
    return {"operation": _as_dict(operation)}


def _as_dict(operation: Operation) -> dict[str, Any]:
    written = contract.operation_as_dict(operation, url=str)
    criteria = {name: one if isinstance(one, list) else [one] for name, one in written["filter"].items()}
    written["filter"] = {name: {"values": values} for name, values in criteria.items()}
    return written | {"change": change_as_dict(written["change"])}


METHODS = {
    "BeginOperation": Method(BEGIN_OPERATION, begin_operation, pb.BeginOperationRequest, pb.BeginOperationResponse),
    "ListOperations": Method(VIEW_OPERATION, list_operations, pb.ListOperationsRequest, pb.ListOperationsResponse),
    "GetOperation": Method(VIEW_OPERATION, get_operation, pb.GetOperationRequest, pb.GetOperationResponse),
    "ChangeOperation": Method(
        CHANGE_OPERATION, change_operation, pb.ChangeOperationRequest, pb.ChangeOperationResponse
    ),
    "ListOperationItems": Method(
        VIEW_OPERATION, list_operation_items, pb.ListOperationItemsRequest, pb.ListOperationItemsResponse
    ),
    "PauseOperation": Method(
        CHANGE_OPERATION, _acting(operations.pause), pb.PauseOperationRequest, pb.PauseOperationResponse
    ),
    "ResumeOperation": Method(
        CHANGE_OPERATION, _acting(operations.resume), pb.ResumeOperationRequest, pb.ResumeOperationResponse
    ),
    "CancelOperation": Method(
        CHANGE_OPERATION, _acting(operations.cancel), pb.CancelOperationRequest, pb.CancelOperationResponse
    ),
    "UndoOperation": Method(BEGIN_OPERATION, undo_operation, pb.UndoOperationRequest, pb.UndoOperationResponse),
}
