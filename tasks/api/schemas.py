"""JSON Schemas that answers of several nouns share, and those of the journal, of health and of problems."""

from collections.abc import Mapping

from tasks.api.json_schema import (
    ANY_OBJECT,
    BOOLEAN,
    ID,
    INTEGER,
    TEXT,
    TIME,
    Schema,
    about,
    an_object,
    array,
    enum,
    or_null,
    ref,
)
from tasks.errors import STATUS_OF_CODE
from tasks.states import Door, ObjectKind

TRACE_ID: Schema = {**TEXT, "pattern": "^[0-9a-f]{32}$"}

ERROR = an_object(
    {
        "type": about(TEXT, "The exception's class, or the limit that was exceeded; may be empty."),
        "message": about(or_null(TEXT), "The exception's message, shortened; null: hidden."),
    }
)

HIDDEN = array(
    TEXT,
    description="The fields that are null because the caller may not see other people's payloads. Those who may see "
    'them get secrets as "********"; owners see all.',
)


def page_of(items: str, **more: Schema) -> Schema:
    """Describe a page of a list."""
    link = or_null({"type": "string", "format": "uri"})
    return an_object(
        {
            "results": array(ref(items), description="At most `limit` entries."),
            "next": about(link, "The next page; null on the last one."),
            "previous": about(link, "The previous page; null on the first one."),
            **more,
        }
    )


SEARCHED = about(
    an_object(
        {
            "is_complete": about(BOOLEAN, "Whether every entry that belongs on the page was found."),
            "until": about(or_null(TIME), "When the last entry that was looked at was made; null on a complete page."),
        }
    ),
    "How far the page looked. A page looks at a bounded part of the list; if few entries match, it may be short, or "
    "empty, and `next` (`previous`, going back) looks further.",
)

_ACT = {
    "verb": about(TEXT, "The verb: cancel, retry, redrive, edit, delete, rescue, …"),
    "by": about(or_null(TEXT), "Who did it; null: a repair, or code that did not say."),
    "door": about(or_null(enum(Door)), "By which way; null: not recorded by an earlier release."),
    "reason": about(or_null(TEXT), "Why; null: nobody said."),
    "at": about(TIME, "When it was done."),
    "detail": about(ANY_OBJECT, "Details; they depend on the verb."),
}

_ENTRY = {
    "id": about(INTEGER, "Grows with time."),
    **_ACT,
    "kind": about(enum(ObjectKind), "What it was done to."),
    "object": about(or_null(TEXT), "The object's id, or the name of the queue; null: the sum of an act on many."),
    "name": about(or_null(TEXT), "The host and process of a worker, or the name of a token."),
    "task_id": about(or_null(ID), "The task that it was done to, if only by its dead letter."),
    "actor": about(or_null(TEXT), "The task's actor."),
    "queue": about(or_null(TEXT), "The task's queue, or the queue itself."),
    "operation_id": about(or_null(ID), "The same for all entries of one act on many."),
    "count": about(or_null(INTEGER), "Of the sum of an act on many: how many objects it changed."),
}

#: The codes in ``errors`` of a problem.
FIELD_CODES = (
    *("bad_text", "cycle", "duplicate", "exclusive", "invalid", "masked", "no_zone", "not_allowed", "not_json"),
    *("not_supported", "out_of_range", "required", "taken", "too_deep", "too_large", "too_long", "unknown_actor"),
    *("unknown_batch", "unknown_field", "unknown_host", "unknown_parameter", "unknown_queue", "unknown_ref"),
    "unknown_task",
)

_FIELD_ERROR = {
    "field": about(TEXT, "The dotted path of a field (`tasks.3.payload.to`), a query parameter or a header."),
    "code": about(enum(FIELD_CODES), "The kind of error, for programs."),
    "message": about(TEXT, "What was expected, what was received and what to do, for people."),
}

_PROBLEM = {
    "type": about({**TEXT, "pattern": "^urn:callboard:error:"}, "A URN that ends in the code."),
    "title": about(TEXT, "The meaning of the code."),
    "status": about(INTEGER, "The HTTP status."),
    "detail": about(TEXT, "The error in this request, for people."),
    "code": about(enum(STATUS_OF_CODE), "The kind of problem, for programs."),
    "trace_id": about(TRACE_ID, "The id of the request in the logs; also in the header X-Trace-Id."),
    "errors": array(an_object(_FIELD_ERROR), description="Errors of single fields; the first hundred."),
}

SCHEMAS: Mapping[str, Schema] = {
    "JournalEntry": an_object(_ENTRY),
    "JournalPage": page_of("JournalEntry"),
    "Health": about(
        {
            "type": "object",
            "properties": {
                "status": about(enum(["ok"]), "Always ok; a component that is down makes the answer a 503 problem."),
                "components": {
                    "type": "object",
                    "additionalProperties": TEXT,
                    "description": "The state of each component: ok, down, missing or none.",
                },
            },
            "required": ["status"],
            "additionalProperties": False,
        },
        "The health of this process.",
    ),
    "Problem": {
        "type": "object",
        "description": "RFC 9457. `code` is the contract; messages may change.",
        "properties": _PROBLEM,
        "required": list(_PROBLEM),
    },
}
