"""The definition of a schedule: the fields that people or code give it, and what is wrong with their values."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tasks import field_faults
from tasks.errors import FieldError
from tasks.field_faults import Check, Fault, mapping, moment, number, shown, text, whole_number
from tasks.retry import MOST_SECONDS
from tasks.states import CatchUp, Overlap
from tasks.timetable import LONGEST_CRON, LONGEST_ZONE, SHORTEST_INTERVAL_SECONDS, check_cron, zone

#: The fields of a submission that a schedule keeps for its tasks, beside actor and payload.
OPTIONS = (
    "queue",
    "priority",
    "max_retries",
    "min_backoff_seconds",
    "max_backoff_seconds",
    "retry_for_seconds",
    "time_limit_seconds",
    "max_age_seconds",
    "estimated_seconds",
    "fairness_key",
    "tags",
)
#: What says when a schedule fires; an edit of one of these makes it count from now on.
TIMING = ("cron", "every_seconds", "timezone", "starts_at", "ends_at")
#: What people or code say of a schedule; everything else is its state.
DEFINITION = (
    "actor",
    "payload",
    "options",
    *TIMING,
    "jitter_seconds",
    "overlap",
    "catch_up",
    "catch_up_window_seconds",
    "pause_after_failures",
)

#: Why a schedule refuses an actor with unique keys.
NO_KEYS = (
    "expected an actor without unique keys, since each fire makes a task of its own; overlap says what happens while "
    "the last one has not ended"
)
LONGEST_NAME = 100
LONGEST_JITTER_SECONDS = 86_400.0
MOST_FAILURES = 1_000


def faults(given: Mapping[str, Any]) -> Iterator[FieldError]:
    """List what is wrong with some fields of a schedule, or with its name; None counts as not given."""
    for name in given:
        if name not in _CHECKS:
            yield FieldError(shown(name)[1:-1], "unknown_field", f"expected one of {', '.join(_CHECKS)}")
    for name, check in _CHECKS.items():
        value = given.get(name)
        # No cron is written as an empty text.
        is_left_out = value is None or (name == "cron" and value == "")
        if not is_left_out and (found := check(value)) is not None:
            yield FieldError(name, *found)
    if not isinstance(given.get("options"), Mapping):
        return
    for name in given["options"]:
        if name not in OPTIONS:
            yield FieldError("options", "unknown_field", f"expected only {', '.join(OPTIONS)}, got {shown(name)}")
    yield from field_faults.faults(given["options"])


def _accepted(longest: int, accepts: Callable[[str], Any]) -> Check:
    """Check a text by a function that raises ValueError."""
    as_text = text(longest)

    def fault(value: Any) -> Fault:
        found = as_text(value)
        if found is not None:
            return found
        try:
            accepts(value)
        except ValueError as error:
            return "invalid", str(error)
        return None

    return fault


def _choice(known: Iterable[str]) -> Check:
    names = list(known)

    def fault(value: Any) -> Fault:
        if value in names:
            return None
        return "invalid", f"expected one of {', '.join(names)}, got {shown(value)}"

    return fault


_CHECKS: Mapping[str, Check] = {
    "name": text(LONGEST_NAME),
    "actor": text(255),
    "payload": mapping,
    "options": mapping,
    "cron": _accepted(LONGEST_CRON, check_cron),
    "every_seconds": number(SHORTEST_INTERVAL_SECONDS, MOST_SECONDS, unit=" seconds"),
    "timezone": _accepted(LONGEST_ZONE, zone),
    "starts_at": moment,
    "ends_at": moment,
    "jitter_seconds": number(0, LONGEST_JITTER_SECONDS, unit=" seconds"),
    "overlap": _choice(Overlap.values),
    "catch_up": _choice(CatchUp.values),
    "catch_up_window_seconds": number(0, MOST_SECONDS, unit=" seconds"),
    "pause_after_failures": whole_number(1, MOST_FAILURES),
}
