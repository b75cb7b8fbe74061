"""JSON Schemas of batches: the body that makes one, and the answers."""

from collections.abc import Mapping

from tasks.api.bodies import SPREAD, submission
from tasks.api.json_schema import (
    BOOLEAN,
    ID,
    INTEGER,
    TEXT,
    TIME,
    URL,
    Schema,
    about,
    an_object,
    array,
    body,
    enum,
    or_null,
    text,
)
from tasks.api.schemas import SEARCHED, TRACE_ID, page_of
from tasks.contract.idempotency_key import LONGEST as LONGEST_KEY
from tasks.contract.submissions import MOST_IN_BULK
from tasks.models.batch import CALLBACKS, LONGEST_NAME
from tasks.states import BatchStatus

_WHEN = {
    "on_death": "once, when the first of its tasks has died",
    "on_complete": "once, when all of its tasks have ended",
    "on_success": "once, when all of its tasks have succeeded",
}
_TASK = {"oneOf": [submission(), {"type": "null"}]}

_BATCH: Mapping[str, Schema] = {
    "id": about(ID, "A UUIDv7: ids grow with time."),
    "url": about(URL, "The address of this resource."),
    "name": about(TEXT, "The name that it was given; it need not be unique."),
    "status": about(
        enum(BatchStatus),
        "OPEN while it takes tasks; RUNNING until they have ended; then SUCCEEDED, FAILED if one has not succeeded, or "
        "CANCELLED if it was cancelled. It is RUNNING again while one of its tasks has a second life.",
    ),
    "total": about(INTEGER, "How many tasks it has. One that is deleted while it waits no longer counts."),
    "succeeded": about(INTEGER, "How many of them have succeeded."),
    "dead": about(INTEGER, "How many are dead."),
    "cancelled": about(INTEGER, "How many are cancelled."),
    "unfinished": about(INTEGER, "How many have not ended."),
    **{
        name: about(
            or_null(
                an_object(
                    {
                        "actor": about(TEXT, "Its actor."),
                        "task_id": about(or_null(ID), "Its task; null: it was not submitted."),
                    }
                )
            ),
            f"What it submits {_WHEN[name]}; null: nothing.",
        )
        for name in CALLBACKS
    },
    "created_at": about(TIME, "When it was made."),
    "closed_at": about(or_null(TIME), "Since when it takes no further tasks."),
    "ended_at": about(or_null(TIME), "When the last of its tasks had ended."),
    "cancelled_at": about(or_null(TIME), "When it was cancelled."),
    "cancelled_by": about(or_null(TEXT), "Who cancelled it; null: nobody, or code that did not say."),
    "cancel_reason": about(or_null(TEXT), "Why; null: nobody said."),
    "trace_id": about(TRACE_ID, "Its callbacks have it, unless they were given their own."),
}

SCHEMAS: Mapping[str, Schema] = {
    "NewBatch": body(
        {
            "name": about(or_null(text(LONGEST_NAME)), "A name for people."),
            "tasks": about(
                or_null(array(submission(), maxItems=MOST_IN_BULK)), "Its first tasks. All are accepted, or none."
            ),
            "open": about(
                or_null(BOOLEAN),
                "Whether it takes further tasks, by their `batch`, until it is closed. Default: if it has none yet.",
            ),
            "spread_seconds": SPREAD,
            **{name: about(_TASK, f"A task to submit {when}.") for name, when in _WHEN.items()},
            "idempotency_key": about(
                or_null(text(LONGEST_KEY)),
                "Requests with the same key and content make one batch within a day. It may be sent as the header "
                "Idempotency-Key instead.",
            ),
        }
    ),
    "Batch": an_object(_BATCH),
    "CreatedBatch": an_object(
        {**_BATCH, "task_ids": array(ID, description="The ids of its first tasks, in the order of the request.")}
    ),
    "BatchPage": page_of("Batch", searched=SEARCHED),
}
