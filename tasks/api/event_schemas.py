"""JSON Schemas of the events of a task."""

from collections.abc import Mapping

from tasks.api.json_schema import ANY_OBJECT, ANYTHING, INTEGER, TEXT, TIME, Schema, about, an_object, enum, or_null
from tasks.api.schemas import ERROR, HIDDEN, page_of
from tasks.contract.events import ID_PATTERN
from tasks.states import AttemptOutcome, Door, EventType, Status

EVENT_ID: Schema = {**TEXT, "pattern": ID_PATTERN}

_MEANINGS = "; ".join(f"`{kind}`: {kind.label[0].lower()}{kind.label[1:]}" for kind in EventType)

_EVENT = {
    "id": about(EVENT_ID, "Whoever gives it as `cursor` or `Last-Event-ID` gets what came after it."),
    "type": about(enum(EventType), f"What it tells. {_MEANINGS}."),
    "at": about(or_null(TIME), "When it happened, or since when it is so; null: unknown."),
    "status": about(or_null(enum(Status)), "Of `status`: the status now."),
    "attempt": about(or_null(INTEGER), "Of `attempt`: its number; of `status` and `progress`: that of the last claim."),
    "outcome": about(or_null(enum(AttemptOutcome)), "Of `attempt`: how it ended."),
    "result": about(ANYTHING, "Of `status`: the actor's return value, once the task has SUCCEEDED."),
    "error": about(or_null(ERROR), "Of `attempt`: its error; of `status`: the last failure."),
    "progress": about(or_null(ANY_OBJECT), "Of `progress`: the last report."),
    "verb": about(or_null(TEXT), "Of `act`: cancel, retry, redrive, edit, rescue, …"),
    "by": about(or_null(TEXT), "Of `act`: who did it; null: a repair, or code that did not say."),
    "door": about(or_null(enum(Door)), "Of `act`: by which way; null: not recorded by an earlier release."),
    "reason": about(or_null(TEXT), "Of `act`: why; null: nobody said."),
    "detail": about(or_null(ANY_OBJECT), "Of `act`: details; they depend on the verb."),
    "hidden": HIDDEN,
}

SCHEMAS: Mapping[str, Schema] = {"Event": an_object(_EVENT), "EventPage": page_of("Event")}
