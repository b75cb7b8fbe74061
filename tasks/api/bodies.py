"""JSON Schemas of the bodies that requests bring: submissions, edits, replacements and reasons."""

from collections.abc import Mapping

from tasks import payload
from tasks.api.json_schema import (
    ANY_OBJECT,
    ANYTHING,
    BOOLEAN,
    ID,
    INTEGER,
    NUMBER,
    TEXT,
    TIME,
    Schema,
    about,
    an_object,
    array,
    body,
    change,
    enum,
    or_null,
    text,
)
from tasks.conf import conf
from tasks.contract.idempotency_key import LONGEST as LONGEST_KEY
from tasks.contract.submissions import MOST_IN_BULK, NOT_SUPPORTED
from tasks.lifecycle.journal import LONGEST_REASON
from tasks.priority import BANDS, HIGHEST, LOWEST
from tasks.retry import MOST_SECONDS
from tasks.states import OnFailure
from tasks.submission import (
    EDITABLE,
    FIELDS,
    LONGEST_REF,
    BatchId,
    Dependencies,
    JsonObject,
    Kind,
    Moment,
    Priority,
    Reference,
    Seconds,
    Tags,
    TaskField,
    Text,
    UniqueRule,
    WholeNumber,
)
from tasks.unique import LONGEST_KEY as LONGEST_UNIQUE_KEY
from tasks.unique import ON_CONFLICT, UNTIL

PRIORITY: Schema = {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST}
BAND = enum(band.name for band in BANDS)
REASON: Schema = {**TEXT, "maxLength": LONGEST_REASON, "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"}

_BAND_IN_ANY_CASE = "|".join("".join(f"[{letter}{letter.upper()}]" for letter in band.name) for band in BANDS)


def _duration(description: str) -> Schema:
    return about(or_null({**NUMBER, "exclusiveMinimum": 0, "maximum": MOST_SECONDS}), description)


UNIQUE: Mapping[str, Schema] = {
    "key": about(text(LONGEST_UNIQUE_KEY), "The key."),
    "until": about(
        or_null(enum(UNTIL)),
        "When the task gives the key up: as it starts, or once it has ended. Default: started with replace, otherwise "
        "finished.",
    ),
    "ttl_seconds": _duration("The task gives the key up this long after its submission, whatever it does."),
    "on_conflict": about(
        or_null(enum(ON_CONFLICT)),
        "If a task has the key: return it (default), replace its content while it waits, or reject the submission "
        "(409 `duplicate`).",
    ),
    "max_wait_seconds": _duration(
        "Replacements postpone the task to at most this long after its submission; default 86400. Only with replace."
    ),
}


_ON_FAILURE = about(or_null(enum(OnFailure)), "What its failure does to this task; default: cancel.")
_DEPENDS_ON: Schema = {
    "oneOf": [
        ID,
        body({"id": about(ID, "A task that exists."), "on_failure": _ON_FAILURE}, required=["id"]),
        body(
            {"ref": about(text(LONGEST_REF), "A task of the same bulk."), "on_failure": _ON_FAILURE}, required=["ref"]
        ),
        body({"batch": about(ID, "A batch that exists."), "on_failure": _ON_FAILURE}, required=["batch"]),
    ]
}


def _taken(kind: Kind) -> Schema:
    """Describe a value as a submission gives it."""
    match kind:
        case Text(longest) | Reference(longest):
            return text(longest)
        case Dependencies(most):
            return array(_DEPENDS_ON, maxItems=most)
        case Priority():
            return {"oneOf": [PRIORITY, {**TEXT, "pattern": rf"^[ \t\r\n]*({_BAND_IN_ANY_CASE})[ \t\r\n]*$"}]}
        case Seconds(takes_zero, highest):
            return {**NUMBER, "minimum" if takes_zero else "exclusiveMinimum": 0, "maximum": highest}
        case WholeNumber(highest):
            return {**INTEGER, "maximum": highest}
        case Tags(most, longest):
            return array(text(longest), maxItems=most)
        case JsonObject():
            return {**ANY_OBJECT, "propertyNames": {"maxLength": payload.LONGEST_KEY, "pattern": r"^[^\u0000]*$"}}
        case Moment():
            return TIME
        case UniqueRule():
            return body(UNIQUE, required=["key"])
        case BatchId():
            return ID


_BOUNDS = "Rate-limited callers: {}, or what the actor declares; GET actors has the bounds."
_HINTS = {
    "actor": "GET actors lists them.",
    "payload": "GET actors has its schema.",
    "max_retries": _BOUNDS.format(f"at most {conf.SUBMIT_MOST_RETRIES}"),
    "min_backoff_seconds": _BOUNDS.format(f"at least {conf.SUBMIT_LEAST_MIN_BACKOFF_SECONDS:g}"),
    "max_backoff_seconds": _BOUNDS.format(f"at least {conf.SUBMIT_LEAST_MAX_BACKOFF_SECONDS:g}"),
}


def _help(one: TaskField) -> str:
    default = "Default: the actor's." if one.actor_option else ""
    return " ".join(filter(None, [one.help, default, _HINTS.get(one.name)]))


#: The fields of a submission; an edit has those that are editable.
SUBMISSION: Mapping[str, Schema] = {name: about(_taken(one.kind), _help(one)) for name, one in FIELDS.items()}


def _replacing(one: TaskField) -> Schema:
    """Describe a field of a replacement, which has no defaults; a value that is null may stay null."""
    schema = about(_taken(one.kind), one.help)
    if one.name == "payload":
        return about(or_null(schema), f"{one.help} A caller from whom it is hidden may send null, which keeps it.")
    if one.if_null:
        return about(or_null(schema), f"{one.help} null ({one.if_null}) is accepted if the task has it already.")
    return schema


def _nullable(schema: Schema) -> Schema:
    """Allow null, which means "not given"."""
    if "oneOf" in schema:
        return {**schema, "oneOf": [*schema["oneOf"], {"type": "null"}]}
    return or_null(schema)


def _refused(why: str) -> Schema:
    """Describe a field that must be left out, null or empty."""
    return {"type": ["array", "null"], "items": ANYTHING, "maxItems": 0, "description": f"{why[0].upper()}{why[1:]}."}


def submission(**more: Schema) -> Schema:
    """Describe a task as a request gives it, with further fields."""
    properties = {
        name: schema if name in ("actor", "payload") else _nullable(schema) for name, schema in SUBMISSION.items()
    }
    refused = {name: _refused(why) for name, why in NOT_SUPPORTED.items()}
    both = {"required": ["run_at", "delay_seconds"], "properties": {"run_at": TIME, "delay_seconds": NUMBER}}
    return {**body({**properties, **refused, **more}, required=["actor"]), "not": both}


SPREAD = about(
    or_null({**NUMBER, "minimum": 0, "maximum": MOST_SECONDS}),
    "The tasks become due one after the other over this time, in their order, each no earlier than it says itself.",
)
WHY = about(or_null(REASON), "Why you do this, in one line; the journal keeps it.")
_ONCE = "Submissions with the same key and content create their tasks once within a day"
_OR_HEADER = "It may be sent as the header Idempotency-Key instead."

BODIES: Mapping[str, Schema] = {
    "Submission": submission(idempotency_key=about(or_null(text(LONGEST_KEY)), f"{_ONCE}. {_OR_HEADER}")),
    "BulkSubmission": body(
        {
            "tasks": array(submission(), minItems=1, maxItems=MOST_IN_BULK, description="All are accepted, or none."),
            "spread_seconds": SPREAD,
            "idempotency_key": about(or_null(text(LONGEST_KEY)), f"{_ONCE}. It covers all tasks. {_OR_HEADER}"),
        },
        required=["tasks"],
    ),
    "Edit": change({**{name: SUBMISSION[name] for name in EDITABLE}, "reason": WHY}, some_of=EDITABLE),
    "Replacement": an_object(
        {**{name: _replacing(FIELDS[name]) for name in EDITABLE}, "reason": WHY}, optional=["reason"]
    ),
    "Signal": body(
        {"payload": about(ANYTHING, "JSON of at most `MAX_SIGNAL_BYTES`; `wait_for()` returns it."), "reason": WHY}
    ),
    "Reason": body({"reason": WHY}),
    "Redrive": body(
        {
            "reason": WHY,
            "payload": about(
                or_null(_taken(JsonObject())),
                "The payload that the task gets before it runs again; left out or null, it keeps its own. Sent back as "
                "it was read, it keeps its masked secrets; one that differs must not have a mask in it.",
            ),
        }
    ),
    "Extent": body(
        {
            "reason": WHY,
            "workflow": about(
                or_null(BOOLEAN),
                "Whether to act on all tasks that are linked to this one by dependencies and that you may act on. A "
                "retry then runs those again that died or were cancelled; the others of the workflow are left alone.",
            ),
        }
    ),
    "QueueChange": body({"paused": about(BOOLEAN, "Whether the queue is paused."), "reason": WHY}, required=["paused"]),
}
