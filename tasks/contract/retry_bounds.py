"""The bounds of retries: how often, and how soon after one another, one admitted task may run.

The submission limit counts tasks, so its callers must not multiply runs by their retries. With the defaults a task runs
at most 6 times in its first minute (after 0, 1, 3, 7, 15 and 31 s), then once a minute, and 101 times in all. What an
actor declares is its author's decision: a caller may always ask for as much.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.conf import conf
from tasks.contract.access import Caller
from tasks.contract.values import number
from tasks.errors import FieldError, InvalidTask
from tasks.models import Task
from tasks.registry import ActorSpec


def bounds_as_dict(spec: ActorSpec, *, caller: Caller) -> dict[str, Any]:
    """Write the bounds of a caller as keywords of JSON Schema, by field; empty for one who is not limited."""
    if not caller.is_limited:
        return {}
    most = _most_retries(spec.max_retries)
    written: dict[str, Any] = {} if most is None else {"max_retries": {"maximum": most}}
    return written | {name: {"minimum": number(least)} for name, least in _least_backoffs(spec)}


def retry_faults(values: Mapping[str, Any], *, caller: Caller, spec: ActorSpec) -> Iterator[FieldError]:
    """List the values of a submission that are beyond the bounds of its caller."""
    if not caller.is_limited:
        return
    yield from _too_many(values, most=_most_retries(spec.max_retries))
    for name, least in _least_backoffs(spec):
        seconds = values.get(name)
        if seconds is not None and seconds < least:
            message = f"expected at least {least:g} seconds (SUBMIT_LEAST_{name.upper()}), got {seconds:g}"
            yield FieldError(name, "out_of_range", message)


def check_retries(change: Mapping[str, Any], *, caller: Caller, task: Task | None = None) -> None:
    """Refuse an edit beyond the bounds of its caller; as many retries as the task has already may stay.

    Parameters:
        task: None for an edit of many tasks.

    Raises:
        InvalidTask: names the field and its bound.
    """
    most = _most_retries(task.max_retries if task else 0)
    errors = [*_too_many(change, most=most)] if caller.is_limited else []
    if errors:
        raise InvalidTask(errors=errors)


def _most_retries(already: int | None) -> int | None:
    """Give the largest ``max_retries``; None, no bound, where tasks retry for ever already."""
    return None if already is None else max(conf.SUBMIT_MOST_RETRIES, already)


def _least_backoffs(spec: ActorSpec) -> Iterator[tuple[str, float]]:
    yield "min_backoff_seconds", min(conf.SUBMIT_LEAST_MIN_BACKOFF_SECONDS, spec.min_backoff_seconds)
    yield "max_backoff_seconds", min(conf.SUBMIT_LEAST_MAX_BACKOFF_SECONDS, spec.max_backoff_seconds)


def _too_many(values: Mapping[str, Any], *, most: int | None) -> Iterator[FieldError]:
    retries = values.get("max_retries")
    if retries is not None and most is not None and retries > most:
        message = f"expected at most {most} retries (SUBMIT_MOST_RETRIES), got {retries}"
        yield FieldError("max_retries", "out_of_range", message)
