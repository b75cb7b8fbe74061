"""Example bodies: the OpenAPI description shows them, and a test sends each one to its operation."""

from collections.abc import Mapping
from typing import Any

from tasks.errors import CallboardError, InvalidTask, http_status

_HELLO: dict[str, Any] = {"actor": "echo", "payload": {"message": "hello"}}

#: Operation, or the body that several have in common → title → body. The edits are of tasks of ``echo``.
EXAMPLES: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "submitTask": {
        "Run at once": _HELLO,
        "Run later, with high priority": {**_HELLO, "priority": "high", "run_at": "2030-01-31T09:00:00+01:00"},
        "Run once, even if sent again": {
            **_HELLO,
            "idempotency_key": "order-4711-greeting",
            "tags": ["order-4711"],
        },
        "Run once for all submissions of a minute": {
            **_HELLO,
            "delay_seconds": 60,
            "unique": {"key": "greeting", "on_conflict": "replace", "max_wait_seconds": 600},
        },
        "Run with its own limits": {
            "actor": "math",
            "payload": {"operation": "divide", "a": 22, "b": 7},
            "delay_seconds": 60,
            "time_limit_seconds": 10,
            "max_retries": 5,
            "min_backoff_seconds": 1,
            "max_backoff_seconds": 300,
            "max_age_seconds": 3600,
            "estimated_seconds": 0.5,
        },
    },
    "submitTasks": {
        "All or none": {
            "tasks": [_HELLO, {**_HELLO, "priority": 10}, {"actor": "sleep", "payload": {"duration": 0.1}}]
        },
        "One after the other": {
            "tasks": [{**_HELLO, "ref": "first"}, {**_HELLO, "depends_on": [{"ref": "first", "on_failure": "run"}]}]
        },
        "Once, even if sent again": {"tasks": [_HELLO], "idempotency_key": "import-2030-01-31"},
    },
    "createBatch": {
        "Tasks with a callback": {
            "name": "import of 2030-01-31",
            "tasks": [_HELLO, {**_HELLO, "payload": {"message": "hello again"}}],
            "on_success": {"actor": "echo", "payload": {"message": "all of them have succeeded"}},
        },
        "Open, for tasks that come later": {"name": "crawl", "on_complete": _HELLO},
        "Spread over ten minutes, once even if sent again": {
            "tasks": [_HELLO, _HELLO],
            "spread_seconds": 600,
            "idempotency_key": "greetings-2030-01-31",
        },
    },
    "changeFailure": {"Take it over": {"assignee": "olga", "note": "The PSP renamed a field; a fix is on its way."}},
    "beginOperation": {
        "Re-drive with care": {
            "verb": "redrive",
            "filter": {"actor": "echo", "reason": "max_retries_exceeded"},
            "canary": 5,
            "rate_per_second": 20,
            "stop_percent": 10,
            "reason": "the fix is out",
        },
        "See how many would be cancelled": {"verb": "cancel", "filter": {"tag": "import-7"}, "preview": True},
        "Let others go first": {"verb": "edit", "filter": {"actor": "echo"}, "change": {"priority": "low"}},
    },
    "changeOperation": {"Slower": {"rate_per_second": 5}},
    "replaceTask": {
        "All editable fields": {
            "payload": {"message": "goodbye"},
            "priority": 9,
            "run_at": "2030-01-31T09:00:00Z",
            "queue": "default",
            "max_retries": 0,
            "tags": ["edited"],
        },
    },
    "editTask": {
        "Raise the priority": {"priority": "high"},
        "Postpone": {"run_at": "2030-01-31T09:00:00Z", "tags": ["put-off"]},
    },
    "addSchedule": {
        "Each weekday at six": {
            "name": "weekday-report",
            "actor": "echo",
            "payload": {"message": "the report of {scheduled_date}"},
            "cron": "0 6 * * 1-5",
            "timezone": "Europe/Berlin",
        },
        "Each 90 seconds, and all that was missed in an hour": {
            **_HELLO,
            "name": "poll",
            "every_seconds": 90,
            "overlap": "allow",
            "catch_up": "all",
            "catch_up_window_seconds": 3600,
            "pause_after_failures": 5,
        },
    },
    "replaceSchedule": {
        "The whole definition": {**_HELLO, "name": "hello", "cron": "0 */2 * * *", "jitter_seconds": 60, "tags": ["hi"]}
    },
    "editSchedule": {
        "Another time": {"cron": "30 5 * * 1-5", "reason": "the export is ready earlier now"},
        "Give it back to the code": {"taken_over": False},
    },
    "backfillSchedule": {
        "One week": {
            "starts_at": "2026-01-05T00:00:00+01:00",
            "ends_at": "2026-01-11T23:59:59+01:00",
            "reason": "lost data",
        }
    },
    "changeQueue": {"Pause it": {"paused": True, "reason": "the mail server is away"}, "Resume it": {"paused": False}},
    "Extent": {
        "Say why": {"reason": "the import was started twice"},
        "The whole workflow": {"reason": "the night's data was wrong", "workflow": True},
    },
    "Redrive": {
        "As it was": {"reason": "the fix is out"},
        "With another payload": {"reason": "it was empty", "payload": {"message": "hello"}},
    },
    "Signal": {
        "Approve": {"payload": {"approved": True}, "reason": "within the budget"},
        "Without a payload": {},
    },
    "Reason": {"Say why": {"reason": "the import was started twice"}},
}

#: The field errors of a submission with the priority 11.
_FIELD_ERRORS = [
    {
        "field": "priority",
        "code": "invalid",
        "message": 'expected a whole number from 1 to 10 or "high", "medium", "low", got 11',
    }
]


def example_of(error: type[CallboardError]) -> dict[str, Any]:
    """Write the problem that answers an error."""
    detail = (error.__doc__ or "").strip().splitlines()[0]
    return {
        "type": f"urn:callboard:error:{error.code}",
        "title": detail.rstrip("."),
        "status": http_status(error),
        "detail": detail,
        "code": error.code,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "errors": _FIELD_ERRORS if error is InvalidTask else [],
    }
