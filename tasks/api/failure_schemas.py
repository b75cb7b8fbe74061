"""JSON Schemas of failures: bodies and answers."""

from collections.abc import Mapping

from dlq.models import LONGEST_NOTE
from dlq.queries import MOST_COMPARED
from tasks.api.bodies import WHY
from tasks.api.json_schema import (
    BOOLEAN,
    FINGERPRINT,
    INTEGER,
    TEXT,
    TIME,
    URL,
    Schema,
    about,
    an_object,
    array,
    change,
    enum,
    or_null,
    ref,
)
from tasks.queries.deaths import MINUTES, MOST_LOOKED_AT

_ERROR = an_object(
    {
        "type": about(TEXT, "The exception's class."),
        "message": about(or_null(TEXT), "The newest one's, without secrets; null: it is hidden."),
    }
)
_FAILURE: Mapping[str, Schema] = {
    "fingerprint": about(FINGERPRINT, "Of the actor, the error's type, the place in your code, and the message."),
    "url": about(URL, "The address of this resource."),
    "actor": about(TEXT, "The actor of the tasks that died."),
    "error": about(_ERROR, "The last failure of the newest of them."),
    "hidden": array(TEXT, description="The fields that are null because you may not see them."),
    "frame": about(or_null(TEXT), "The innermost frame of your own code; null: unknown."),
    "first_seen_at": about(TIME, "When the first task died of it."),
    "last_seen_at": about(TIME, "When the last task died of it."),
    "first_build": about(or_null(TEXT), "The build of your code in which the first task died of it; null: unknown."),
    "last_build": about(or_null(TEXT), "The build in which the last task died of it; null: unknown."),
    "open": about(INTEGER, "Its open dead letters."),
    "total": about(INTEGER, "All deaths, also those whose dead letters were removed."),
    "assignee": about(or_null(TEXT), "Who looks after it."),
    "note": about(or_null(TEXT), "What people know about it."),
    "snoozed_until": about(or_null(TIME), "Until then it is not shown as something to do."),
    "snoozed_until_new_build": about(
        BOOLEAN,
        "Whether it is not shown as something to do until a task dies of it in a build that did not run before.",
    ),
}
_TRAIT = an_object(
    {
        "kind": about(enum(("queue", "reason", "worker", "build", "tag", "payload")), "What is the same."),
        "name": about(or_null(TEXT), "The key of the payload; null for others."),
        "value": about(TEXT, "The value that they share."),
        "count": about(INTEGER, "How many of those compared have it."),
    }
)
_ANATOMY: Mapping[str, Schema] = {
    "compared": about(INTEGER, f"How many of the newest open dead letters were compared; at most {MOST_COMPARED}."),
    "in_common": array(_TRAIT, description="What many of them have in common, most frequent first."),
    "deaths_per_minute": array(
        INTEGER,
        description=f"In the last {MINUTES} minutes, oldest first; of the newest {MOST_LOOKED_AT} of all causes.",
    ),
}

SCHEMAS: Mapping[str, Schema] = {
    "FailureChange": change(
        {
            "assignee": about(or_null({**TEXT, "maxLength": 150}), "Who looks after it; null or empty: nobody."),
            "note": about(or_null({**TEXT, "maxLength": LONGEST_NOTE}), "What people should know; null: nothing."),
            "snoozed_until": about(or_null(TIME), "Do not show it as something to do until then; null: show it."),
            "snoozed_until_new_build": about(
                or_null(BOOLEAN),
                "true: do not show it as something to do until a task dies of it in a build that does not run now; "
                "it takes the place of snoozed_until, and the other way round.",
            ),
            "reason": WHY,
        },
        some_of=("assignee", "note", "snoozed_until", "snoozed_until_new_build"),
    ),
    "Failure": an_object(_FAILURE),
    "Failures": an_object(
        {
            "results": array(ref("Failure"), description="The one that was last seen first."),
            "is_capped": about(BOOLEAN, "Whether there are more."),
        }
    ),
    "FailureDetail": an_object({**_FAILURE, **_ANATOMY}),
}
