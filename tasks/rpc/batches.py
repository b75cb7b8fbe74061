"""The methods of batches: make, list, read, close, cancel."""

from collections.abc import Mapping
from typing import Any

from tasks.contract.access import CANCEL_BATCH, CLOSE_BATCH, SUBMIT_TASK, VIEW_BATCH, Action, find_owned
from tasks.contract.batches import FILTERS, batch_as_dict, check_reach, read_batch, visible_batches
from tasks.contract.filters import filtered
from tasks.contract.idempotency_key import take_key
from tasks.contract.pages import page
from tasks.contract.submissions import hiding_holders
from tasks.lifecycle import batches
from tasks.models import Batch
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.generated import batch_pb2 as pb
from tasks.rpc.messages import as_parameters
from tasks.rpc.pages import page_as_dict


def list_batches(call: Call, asked: Values) -> Mapping[str, Any]:
    """List batches, newest first."""
    parameters = as_parameters(asked)
    found = page(filtered(visible_batches(call.caller), parameters, FILTERS), parameters)
    return page_as_dict("batches", found, _as_dict)


def create_batch(call: Call, asked: Values) -> Mapping[str, Any]:
    """Make a batch with its first tasks in one transaction: all or nothing."""
    key = take_key(asked)
    wanted = read_batch(asked, caller=call.caller)
    with hiding_holders(call.caller):
        if key is None:
            created = batches.create(wanted, admit=call.limit)
        else:
            created = batches.create_once(wanted, key=key, admit=call.limit)
    return {
        "batch": _as_dict(created.batch),
        "task_ids": list(map(str, created.task_ids)),
        "replayed": created.is_replayed,
    }


def get_batch(call: Call, asked: Values) -> Mapping[str, Any]:
    """Read one batch."""
    return {"batch": _as_dict(_find(call, asked, VIEW_BATCH))}


def close_batch(call: Call, asked: Values) -> Mapping[str, Any]:
    """Let a batch take no further tasks, so that it can end."""
    batch = _find(call, asked, CLOSE_BATCH)
    return {"batch": _as_dict(batches.close(batch.pk, by=call.author(asked)))}


def cancel_batch(call: Call, asked: Values) -> Mapping[str, Any]:
    """Close a batch and cancel its tasks."""
    batch, by = _find(call, asked, CANCEL_BATCH), call.author(asked)
    check_reach(batch, call.caller)
    return {"batch": _as_dict(batches.cancel(batch.pk, by=by))}


def _find(call: Call, asked: Values, action: Action) -> Batch:
    rows = Batch.objects.with_news()
    return find_owned(rows, asked.get("id", ""), call.caller, action, view=VIEW_BATCH, kind="batch")


def _as_dict(batch: Batch) -> dict[str, Any]:
    return batch_as_dict(batch, url=str)


METHODS = {
    "ListBatches": Method(VIEW_BATCH, list_batches, pb.ListBatchesRequest, pb.ListBatchesResponse),
    "CreateBatch": Method(SUBMIT_TASK, create_batch, pb.CreateBatchRequest, pb.CreateBatchResponse),
    "GetBatch": Method(VIEW_BATCH, get_batch, pb.GetBatchRequest, pb.GetBatchResponse),
    "CloseBatch": Method(CLOSE_BATCH, close_batch, pb.CloseBatchRequest, pb.CloseBatchResponse),
    "CancelBatch": Method(CANCEL_BATCH, cancel_batch, pb.CancelBatchRequest, pb.CancelBatchResponse),
}
