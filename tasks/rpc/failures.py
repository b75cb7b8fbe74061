"""The methods of failures: list, read; assign, snooze, note."""

from collections.abc import Mapping
from typing import Any

from dlq.models import Failure
from tasks import lifecycle
from tasks.contract.access import CHANGE_FAILURE, VIEW_FAILURE
from tasks.contract.failures import (
    anatomy,
    anatomy_as_dict,
    failure_as_dict,
    find_failure,
    lenses_of,
    list_failures,
    read_change,
)
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.generated import failure_pb2 as pb
from tasks.rpc.messages import as_parameters, take_cleared


def list_all(call: Call, asked: Values) -> Mapping[str, Any]:
    """List the causes of deaths, the one that was last seen first."""
    found = list_failures(call.caller, as_parameters(asked))
    seen = lenses_of(found.rows, sees=call.sees)
    rows = [failure_as_dict(one, url=str, lens=seen[one.pk]) for one in found.rows]
    return {"failures": rows, "is_capped": found.is_capped}


def get_failure(call: Call, asked: Values) -> Mapping[str, Any]:
    """Read one failure, with what its newest open dead letters have in common."""
    failure = find_failure(call.caller, asked.get("fingerprint", ""))
    return {"failure": _written(call, failure), **anatomy_as_dict(anatomy(failure, sees=call.sees))}


def change_failure(call: Call, asked: Values) -> Mapping[str, Any]:
    """Assign a failure, snooze it, or write a note."""
    fingerprint = asked.pop("fingerprint", "")
    failure, by = find_failure(call.caller, fingerprint), call.author(asked)
    lifecycle.look_after(failure.pk, read_change(take_cleared(asked, asked)), by=by)
    return {"failure": _written(call, find_failure(call.caller, fingerprint))}


def _written(call: Call, failure: Failure) -> dict[str, Any]:
    return failure_as_dict(failure, url=str, lens=lenses_of([failure], sees=call.sees)[failure.pk])


METHODS = {
    "ListFailures": Method(VIEW_FAILURE, list_all, pb.ListFailuresRequest, pb.ListFailuresResponse),
    "GetFailure": Method(VIEW_FAILURE, get_failure, pb.GetFailureRequest, pb.GetFailureResponse),
    "ChangeFailure": Method(CHANGE_FAILURE, change_failure, pb.ChangeFailureRequest, pb.ChangeFailureResponse),
}
