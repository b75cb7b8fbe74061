"""Failures: how they are listed, written and changed, and what the deaths of one have in common."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.db.models import QuerySet
from django.utils import timezone

from dlq.models import LONGEST_NOTE, Failure, FailureQuerySet
from dlq.queries import Sampled, error_line, sample
from tasks.contract import fields
from tasks.contract.access import Caller
from tasks.contract.fields import InvalidValue, Reader
from tasks.contract.filters import Filter, filtered
from tasks.contract.sight import Lens, Sees, Sight
from tasks.contract.values import timestamp
from tasks.errors import InvalidTask, NotFound
from tasks.models import Task
from tasks.queries.deaths import Curve, deaths_per_minute

DEFAULT_LIMIT = 50
MOST_LISTED = 500
#: Of the error in one line, in characters.
LONGEST_ERROR = 200
#: Traits that are shown, and the share of the sample that has to have one.
MOST_TRAITS = 12
LEAST_SHARE = 0.2
#: Of a payload's value, in characters; a longer one tells deaths apart rather than having them in common.
LONGEST_VALUE = 60
#: Keys of one payload that are compared.
MOST_KEYS = 30


def _truth(value: str) -> bool:
    if value not in {"true", "false"}:
        raise InvalidValue("invalid", f"expected true or false, got {fields.quoted(value)}")
    return value == "true"


def _open(rows: FailureQuerySet, is_open: bool) -> FailureQuerySet:
    return rows.open() if is_open else rows.exclude(open__gt=0)


def _snoozed(rows: FailureQuerySet, is_snoozed: bool) -> FailureQuerySet:
    now = timezone.now()
    return rows.snoozed(now=now) if is_snoozed else rows.awake(now=now)


FILTERS: Mapping[str, Filter] = {
    "actor": Filter(fields.text(255), FailureQuerySet.for_actor),
    "error_type": Filter(fields.text(255), FailureQuerySet.of_type),
    "assignee": Filter(fields.text(150), FailureQuerySet.assigned_to),
    "open": Filter(_truth, _open),
    "snoozed": Filter(_truth, _snoozed),
}
#: The bound of the list is read with its filters: it has no pages.
_LIMIT: Mapping[str, Filter] = {"limit": Filter(fields.digits(1, MOST_LISTED), lambda rows, _: rows)}


class Listed(NamedTuple):
    """The failures that were last seen, and whether there are more."""

    rows: list[Failure]
    is_capped: bool


def visible_failures(caller: Caller) -> FailureQuerySet:
    """Narrow failures to those that the caller may see; they have no queue, so a token for some queues sees none."""
    rows = Failure.objects.with_news()
    if caller.queues:
        return rows.none()
    return rows.filter(actor__in=caller.actors) if caller.actors else rows


def list_failures(caller: Caller, parameters: Mapping[str, Sequence[str]]) -> Listed:
    """List the failures that match, the one that was last seen first.

    Raises:
        InvalidQuery: with one error per parameter.
    """
    rows = filtered(visible_failures(caller), parameters, {**FILTERS, **_LIMIT}, others=())
    limit = int(parameters["limit"][0]) if "limit" in parameters else DEFAULT_LIMIT
    return last_seen(rows, limit=limit)


def last_seen(rows: QuerySet[Failure], *, limit: int) -> Listed:
    """Take those of these failures that were last seen."""
    found = list(rows.order_by("-last_seen_at", "fingerprint")[: limit + 1])
    return Listed(found[:limit], len(found) > limit)


def find_failure(caller: Caller, text: str) -> Failure:
    """Find a failure that the caller may see by its fingerprint.

    Raises:
        NotFound: the text is not a fingerprint, or there is no such failure.
    """
    try:
        found = visible_failures(caller).filter(pk=fields.fingerprint(text)).first()
    except InvalidValue as error:
        raise NotFound(f"there is no such failure: {error}") from error
    if found is None:
        raise NotFound(f"there is no failure {text}")
    return found


def lenses_of(failures: Sequence[Failure], *, sees: Sees) -> dict[str, Lens]:
    """Make the lens of each failure, which is that of its newest task, for somebody who does not own it."""
    sight = sees(None)
    wanted = [one.task_id for one in failures if one.task_id] if sight is Sight.MASKED else []
    tasks: dict[Any, Task] = Task.objects.only("actor", "args", "payload").in_bulk(wanted) if wanted else {}
    return {one.pk: Lens(sight, tasks.get(one.task_id)) for one in failures}


def errors_of(failures: Sequence[Failure], *, sees: Sees) -> dict[str, str]:
    """Write the error of each failure, by its fingerprint, as a user sees it who owns none of its tasks."""
    seen = lenses_of(failures, sees=sees)
    return {
        one.pk: error_line(one.error_type, seen[one.pk].text(one.error_message) or "")[:LONGEST_ERROR]
        for one in failures
    }


def failure_as_dict(failure: Failure, *, url: Any, lens: Lens) -> dict[str, Any]:
    """Write a failure through the lens of its newest task."""
    return {
        "fingerprint": failure.pk,
        "url": url(failure.pk),
        "actor": failure.actor,
        "error": {"type": failure.error_type, "message": lens.text(failure.error_message)},
        "hidden": lens.hidden("error.message"),
        "frame": failure.frame or None,
        "first_seen_at": timestamp(failure.first_seen_at),
        "last_seen_at": timestamp(failure.last_seen_at),
        "first_build": failure.first_build or None,
        "last_build": failure.last_build or None,
        "open": max(failure.count("open"), 0),
        "total": failure.count("total"),
        "assignee": failure.assignee or None,
        "note": failure.note or None,
        "snoozed_until": timestamp(failure.snoozed_until),
        "snoozed_until_new_build": failure.snoozed_builds is not None,
    }


def _optional(read: Reader) -> Reader:
    return lambda value: "" if value == "" else read(value)


CHANGE: Mapping[str, Reader] = {
    "assignee": _optional(fields.text(150)),
    "note": _optional(fields.text(LONGEST_NOTE)),
    "snoozed_until": fields.moment,
    "snoozed_until_new_build": fields.boolean,
}
#: What a value that is null becomes; all others become "".
_IF_NULL = {"snoozed_until": None, "snoozed_until_new_build": False}


def read_change(body: Mapping[str, Any]) -> dict[str, Any]:
    """Read a change of a failure; null takes the value away.

    Raises:
        InvalidTask: with one error per field.
    """
    values, errors = fields.read_fields(body, CHANGE, refused={})
    if errors:
        raise InvalidTask(errors=errors)
    nulls = [name for name, value in body.items() if value is None and name in CHANGE]
    values |= {name: _IF_NULL.get(name, "") for name in nulls}
    if values.get("snoozed_until") and values.get("snoozed_until_new_build"):
        raise InvalidTask("expected snoozed_until or snoozed_until_new_build, got both")
    if not values:
        raise InvalidTask(f"expected at least one of {', '.join(CHANGE)}")
    return values


# --- What they have in common ---


class Trait(NamedTuple):
    """Something that many of the newest open dead letters of a failure share."""

    kind: str
    name: str
    value: str
    shared_by: int


class Anatomy(NamedTuple):
    """What the newest open dead letters of a failure show."""

    sampled: list[Sampled]
    traits: list[Trait]
    deaths: Curve


#: Of somebody who does not see the dead letters.
NOTHING = Anatomy([], [], Curve([], is_cut=False))


def anatomy(failure: Failure, *, sees: Sees) -> Anatomy:
    """Compare the newest open dead letters of a failure: tags, queue, worker, build, and the keys of the payloads."""
    sampled = sample(failure.pk)
    counts = Counter(trait for one in sampled for trait in set(_traits(one, sees)))
    least = max(2, len(sampled) * LEAST_SHARE) if len(sampled) > 1 else 1
    common = sorted((one for one in counts.items() if one[1] >= least), key=lambda pair: (-pair[1], pair[0]))
    traits = [Trait(*trait, count) for trait, count in common[:MOST_TRAITS]]
    return Anatomy(sampled, traits, deaths_per_minute(failure.pk, now=timezone.now()))


def _traits(one: Sampled, sees: Sees) -> Iterator[tuple[str, str, str]]:
    yield "queue", "", one.letter.queue
    yield "reason", "", one.letter.get_reason_display()
    if one.worker:
        yield "worker", "", one.worker
    if one.build:
        yield "build", "", one.build
    if one.task is None:
        return
    for tag in one.task.tags:
        yield "tag", "", tag
    payload = Lens(sees(one.letter.owner_id), one.task).payload() or {}
    for key, value in list(payload.items())[:MOST_KEYS]:
        if isinstance(value, str | int | float | bool) and len(str(value)) <= LONGEST_VALUE:
            yield "payload", key, str(value)


def anatomy_as_dict(found: Anatomy) -> dict[str, Any]:
    """Write what the dead letters have in common."""
    traits = [
        {"kind": one.kind, "name": one.name or None, "value": one.value, "count": one.shared_by} for one in found.traits
    ]
    return {"compared": len(found.sampled), "in_common": traits, "deaths_per_minute": found.deaths.counts}
