"""JSON Schemas of dead letters: the answers."""

from collections.abc import Mapping

from tasks.api.json_schema import (
    ANY_OBJECT,
    ID,
    INTEGER,
    TEXT,
    TIME,
    URL,
    Schema,
    about,
    an_object,
    array,
    enum,
    or_null,
)
from tasks.api.schemas import ERROR, HIDDEN, SEARCHED, page_of
from tasks.contract.dead_letter_export import COLUMNS, MOST_EXPORTED
from tasks.states import DeathReason, Resolution, Status

_DEAD_LETTER = {
    "id": about(ID, "A UUIDv7: ids grow with time."),
    "url": about(URL, "The address of this resource."),
    "task_id": about(ID, "The task that died."),
    "task_url": about(URL, "The address of the task; 404 once the task is removed."),
    "actor": about(TEXT, "The task's actor."),
    "queue": about(TEXT, "The task's queue when it died."),
    "attempt": about(INTEGER, "Claims by workers up to this death; those put back unstarted count too."),
    "reason": about(enum(DeathReason), "Why the task died."),
    "error": about(or_null(ERROR), "The last failure."),
    "hidden": HIDDEN,
    "fingerprint": about(TEXT, "Deaths with the same cause have the same fingerprint."),
    "died_at": about(TIME, "When the task died."),
    "resolution": about(enum(Resolution.names), "How the dead letter was resolved; OPEN: not yet."),
    "resolved_by": about(or_null(TEXT), "Who resolved it."),
    "resolved_at": about(or_null(TIME), "When it was resolved."),
}

_EXPORTED = {
    **{name: _DEAD_LETTER[name] for name in COLUMNS if name in _DEAD_LETTER},
    "error_type": about(TEXT, "The exception's class."),
    "error_message": about(or_null(TEXT), "Its message, without secrets; null: it is hidden."),
    "payload": about(or_null(ANY_OBJECT), "The task's payload, without secrets; null: it is hidden, or removed."),
}

SCHEMAS: Mapping[str, Schema] = {
    "DeadLetter": an_object(_DEAD_LETTER),
    "DeadLetterPage": page_of("DeadLetter", searched=SEARCHED),
    "DeadLetterExport": an_object(
        {
            "results": array(an_object(_EXPORTED), description=f"The newest {MOST_EXPORTED} at most."),
            "note": about(or_null(TEXT), "Says so if more match; null: these are all."),
        }
    ),
    "RedrivenDeadLetter": an_object(
        {**_DEAD_LETTER, "task_status": about(enum(Status), "The task's status after the re-drive.")}
    ),
}
