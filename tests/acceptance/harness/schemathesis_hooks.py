"""What the API's description cannot say, for schemathesis: ``schemathesis.toml`` has it load this module."""

from typing import Any
from uuid import UUID

import schemathesis
from hypothesis import strategies as st

#: Times are at most a hundred years ahead of the day.
_YEARS = range(1990, 2100)


def _written(parts: tuple[int, int, int, int, int, int, str, str]) -> str:
    year, month, day, hour, minute, second, fraction, zone = parts
    return f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}"


schemathesis.openapi.format(
    "date-time",
    st.tuples(
        st.sampled_from(_YEARS), st.integers(1, 12), st.integers(1, 28),
        st.integers(0, 23), st.integers(0, 59), st.integers(0, 59),
        st.sampled_from(["", ".5", ".123456", ".123456789"]), st.sampled_from(["Z", "+00:00", "-11:30", "+14:00"]),
    ).map(_written),
)  # fmt: skip


# Of a header schemathesis generates letters and digits only, unless it is of a format that is known here.
schemathesis.openapi.format(
    "entity-tags",
    st.one_of(
        st.sampled_from(["*", '"1"', '"1-PENDING-0"', 'W/"1"', '"1-DEAD-1" ,"2"']),
        st.text("".join(map(chr, range(0x23, 0x7F))), max_size=20).map('"{}"'.format),
    ),
)


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: "schemathesis.Case[Any]", kwargs: dict[str, Any]) -> None:
    """Mend what is valid by itself only: backoffs out of order, two keys, null for a number, a wait without replace."""
    wait = str(case.query.get("wait", ""))
    if wait.isdecimal() and 1 < int(wait) <= 60:
        # It would be kept, for as long.
        case.query["wait"] = 1
    if not isinstance(case.body, dict):
        return
    if case.method == "PUT" and case.body.get("max_retries", 0) is None:
        case.body["max_retries"] = 3
    if "idempotency_key" in case.body and case.headers is not None:
        case.headers.pop("Idempotency-Key", None)
    if "snoozed_until_new_build" in case.body:
        # One of the two ends the other.
        case.body.pop("snoozed_until", None)
    tasks = case.body.get("tasks", [case.body])
    for task in tasks if isinstance(tasks, list) else []:
        if isinstance(task, dict):
            _order(task)


def _order(task: dict[str, Any]) -> None:
    shortest, longest = task.get("min_backoff_seconds"), task.get("max_backoff_seconds")
    if isinstance(shortest, int | float) and isinstance(longest, int | float) and shortest > longest:
        task["min_backoff_seconds"], task["max_backoff_seconds"] = longest, shortest
    if isinstance(task.get("depends_on"), list):
        # There is no such task or batch, so only what is not well formed stays.
        task["depends_on"] = [one for one in task["depends_on"] if not _names_a_parent(one)]
    unique = task.get("unique")
    if isinstance(unique, dict) and unique.get("on_conflict") in (None, "return", "reject"):
        unique.pop("max_wait_seconds", None)


def _names_a_parent(parent: Any) -> bool:
    """Tell whether a dependency is as the description says."""
    if not isinstance(parent, dict):
        return _is_id(parent)
    names = set(parent) - {"on_failure"}
    if names == {"ref"}:
        return isinstance(parent["ref"], str)
    return names in ({"id"}, {"batch"}) and _is_id(parent[names.pop()])


def _is_id(given: Any) -> bool:
    try:
        UUID(given)
    except (TypeError, ValueError, AttributeError):
        return False
    return True
