"""JSON Schemas of operations: bodies and answers."""

from collections.abc import Mapping

from tasks.api.bodies import SUBMISSION, WHY
from tasks.api.json_schema import (
    ANY_OBJECT,
    BOOLEAN,
    FINGERPRINT,
    ID,
    INTEGER,
    NUMBER,
    TEXT,
    TIME,
    URL,
    Schema,
    about,
    an_object,
    array,
    body,
    change,
    enum,
    or_null,
)
from tasks.api.schemas import page_of
from tasks.contract.operations import (
    CHANGEABLE,
    DEFAULT_STOP_PERCENT,
    FASTEST,
    MOST_CANARY,
    MOST_IDS,
    SLOWEST,
)
from tasks.models.operation import STOP_WINDOW
from tasks.states import ItemState, OperationState, OperationVerb

_RATE: Schema = {**NUMBER, "minimum": SLOWEST, "maximum": FASTEST}
_PERCENT: Schema = {"type": "integer", "minimum": 1, "maximum": 100}
_PACE: Mapping[str, Schema] = {
    "rate_per_second": about(or_null(_RATE), "How many rows it does in a second; null: as many as it can."),
    "stop_percent": about(
        or_null(_PERCENT),
        f"It stops by itself when this share of the canary, or of the last {STOP_WINDOW} that ended, dies again.",
    ),
}
_OPERATION: Mapping[str, Schema] = {
    "id": about(ID, "A UUIDv7: ids grow with time."),
    "url": about(URL, "The address of this resource."),
    "verb": about(enum(OperationVerb), "What it does to each row."),
    "state": about(enum(OperationState), "How far it is."),
    "by": about(or_null(TEXT), "Who began it."),
    "reason": about(or_null(TEXT), "Why."),
    "filter": about(ANY_OBJECT, "What chose its rows when it was made; empty: their ids were given."),
    "failure": about(or_null(FINGERPRINT), "The failure whose dead letters it is for."),
    "change": about(or_null(ANY_OBJECT), "What an edit changes."),
    "rate_per_second": about(or_null(NUMBER), "How many rows it does in a second; null: as many as it can."),
    "canary": about(INTEGER, "How many rows it does first; it waits until their tasks have ended."),
    "stop_percent": about(or_null(INTEGER), "The share of deaths at which it stops by itself; null: it does not."),
    "note": about(or_null(TEXT), "Why it stopped by itself."),
    "total": about(INTEGER, "Its rows."),
    "is_capped": about(BOOLEAN, "Whether more rows matched; it has the newest."),
    "left": about(INTEGER, "Rows that it has not come to."),
    "moved": about(INTEGER, "Rows that it was done to."),
    "skipped": about(INTEGER, "Rows that it could not be done to."),
    "skips": about({"type": "object", "additionalProperties": INTEGER}, "How many were skipped, by reason."),
    "running": about(INTEGER, "Tasks that it brought back and that have not ended."),
    "succeeded": about(INTEGER, "Tasks that it brought back and that succeeded."),
    "died_again": about(INTEGER, "Tasks that it brought back and that died again."),
    "ended": about(INTEGER, "Tasks that it brought back and that were cancelled or removed."),
    "errors": about(INTEGER, "Steps that failed and were repeated."),
    "created_at": about(TIME, "When it was made."),
    "started_at": about(or_null(TIME), "When it was started; null: it is a preview."),
    "ended_at": about(or_null(TIME), "When it was done or cancelled."),
}
_ITEM: Mapping[str, Schema] = {
    "id": about(ID, "The task, or the dead letter."),
    "task_id": about(ID, "The task."),
    "task_url": about(URL, "The address of the task; 404 once the task is removed."),
    "state": about(enum(ItemState.names), "What was done to it, and what became of its task."),
    "note": about(or_null(TEXT), "Why it was skipped."),
    "moved_at": about(or_null(TIME), "When it was done."),
    "ended_at": about(or_null(TIME), "When its task ended after that."),
}
_CONDITION: Schema = {"oneOf": [TEXT, array(TEXT, minItems=1)]}

SCHEMAS: Mapping[str, Schema] = {
    "NewOperation": body(
        {
            "verb": about({**TEXT, "maxLength": 20}, f"One of {', '.join(OperationVerb.names)}, in any case."),
            "filter": about(
                or_null({"type": "object", "additionalProperties": _CONDITION}),
                "The parameters of GET dlq for a re-drive, discard or restore, of GET tasks for other verbs, as texts. "
                "Rows that the verb cannot be done to are left out. Later matches are not touched.",
            ),
            "ids": about(
                or_null(array(ID, minItems=1, maxItems=MOST_IDS)),
                "Of dead letters for a re-drive, discard or restore, of tasks for other verbs; instead of a filter.",
            ),
            "change": about(
                or_null({"type": "object", "properties": {name: SUBMISSION[name] for name in CHANGEABLE}}),
                "What an edit changes.",
            ),
            "rate_per_second": _PACE["rate_per_second"],
            "canary": about(
                or_null({"type": "integer", "minimum": 0, "maximum": MOST_CANARY}),
                "Do it to so many first, and wait until their tasks have ended. Of a retry or re-drive.",
            ),
            "stop_percent": about(
                _PACE["stop_percent"],
                f"{_PACE['stop_percent']['description']} Of a retry or re-drive; default {DEFAULT_STOP_PERCENT}.",
            ),
            "preview": about(or_null(BOOLEAN), "Count the rows and wait for `resume`."),
            "reason": WHY,
        },
        required=["verb"],
    ),
    "Pace": change({**_PACE, "reason": WHY}, some_of=_PACE),
    "Operation": an_object(_OPERATION),
    "OperationPage": page_of("Operation"),
    "OperationItem": an_object(_ITEM),
    "OperationItemPage": page_of("OperationItem"),
}
