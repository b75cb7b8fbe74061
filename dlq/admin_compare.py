"""The page that shows the payloads of two dead letters of a failure beside each other."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from dlq.models import DeadLetter, Failure
from tasks.admin.base import ReadOnlyAdmin
from tasks.admin.differences import SAME, Comparison, Difference, compare
from tasks.admin.formatting import escape_invisible, relative_time, shortened, timestamp
from tasks.contract import fields
from tasks.contract.access import VIEW_DEAD_LETTER, VIEW_TASK, Caller
from tasks.contract.sight import Lens, Sight, sight_of
from tasks.models import Task

#: Dead letters that the page offers.
MOST_OFFERED = 50
#: Dead letters that are looked through for one of another queue.
MOST_LOOKED_AT = 200
#: Leaves on the page, and the characters of each.
MOST_SHOWN = 300
MAX_VALUE_LENGTH = 400


def compare_view(model_admin: ReadOnlyAdmin, request: HttpRequest, failure: Failure) -> HttpResponse:
    """Show two dead letters: those with the ids ``a`` and ``b``, or two that are likely to differ."""
    if not request.user.has_perms([VIEW_DEAD_LETTER.permission, VIEW_TASK.permission]):
        raise PermissionDenied
    sees = sight_of(Caller(request.user))

    def is_seen(letter: DeadLetter) -> bool:
        return sees(letter.owner_id) is not Sight.NOTHING

    letters = DeadLetter.objects.open_of_cause(failure.pk)
    looked_at = [*letters.newest_first()[:MOST_LOOKED_AT], *letters.order_by("id")[:1]]
    seen = list(filter(is_seen, looked_at))
    pair = [_asked(request, name, failure) or default for name, default in zip("ab", _likely_pair(seen), strict=True)]
    chosen = [one for one in pair if one is not None]
    if not all(map(is_seen, chosen)) or (looked_at and not seen):
        raise PermissionDenied
    tasks: dict[UUID, Task] = Task.objects.only("actor", "args", "payload").in_bulk([one.task_id for one in chosen])
    lenses = [Lens(sees(one.owner_id), tasks.get(one.task_id)) for one in chosen]
    offered = list({one.pk: one for one in [*seen[:MOST_OFFERED], *chosen]}.values())
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Compare two payloads",
        "opts": model_admin.opts,
        "row_name": model_admin.name_of(failure),
        "back": model_admin.address_of(failure.pk),
        "letters": [_letter(one, is_task_gone=one.task_id not in tasks) for one in chosen],
        "choices": [{"name": name, "options": _options(offered, one)} for name, one in zip("ab", pair, strict=True)],
        **(_differences(_arguments(lenses[0]), _arguments(lenses[1])) if len(chosen) == 2 else {}),
    }
    return TemplateResponse(request, "callboard/compare.html", context)


def _likely_pair(letters: Sequence[DeadLetter]) -> tuple[DeadLetter | None, DeadLetter | None]:
    """Take the first, and the first of another queue or else the last; None for what is not there."""
    if not letters:
        return None, None
    first, last = letters[0], letters[-1]
    other = next((one for one in letters if one.queue != first.queue), last)
    return first, other if other.pk != first.pk else None


def _asked(request: HttpRequest, name: str, failure: Failure) -> DeadLetter | None:
    if not (given := request.GET.get(name)):
        return None
    try:
        found = DeadLetter.objects.of_cause(failure.pk).filter(pk=fields.identifier(given)).first()
    except fields.InvalidValue as error:
        raise Http404 from error
    if found is None:
        raise Http404
    return found


def _arguments(lens: Lens) -> dict[str, Any]:
    """Give the payload, and positional arguments by their places."""
    places = {f"argument {place}": value for place, value in enumerate(lens.arguments() or [], start=1)}
    return {**places, **(lens.payload() or {})}


def _letter(letter: DeadLetter, *, is_task_gone: bool) -> dict[str, Any]:
    return {
        "pk": letter.pk,
        "short": f"…{str(letter.pk)[-8:]}",
        "queue": escape_invisible(letter.queue),
        "died": relative_time(letter.died_at),
        "is_task_gone": is_task_gone,
    }


def _options(letters: Sequence[DeadLetter], chosen: DeadLetter | None) -> list[dict[str, Any]]:
    return [
        {
            "value": str(one.pk),
            "label": f"{timestamp(one.died_at)[:19]} · {shortened(one.queue, 30)} · …{str(one.pk)[-8:]}",
            "is_chosen": chosen is not None and one.pk == chosen.pk,
        }
        for one in letters
    ]


def _differences(first: Any, second: Any) -> dict[str, Any]:
    found: Comparison = compare(first, second)
    different = [one for one in found.rows if one.kind != SAME]
    same = [one for one in found.rows if one.kind == SAME]
    return {
        "different": [_row(one) for one in different[:MOST_SHOWN]],
        "same": [_row(one) for one in same[:MOST_SHOWN]],
        "different_count": len(different),
        "same_count": len(same),
        "max_shown": MOST_SHOWN if max(len(different), len(same)) > MOST_SHOWN else 0,
        "is_cut": found.is_cut,
    }


def _row(one: Difference) -> dict[str, str]:
    return {
        "path": shortened(one.path, 200),
        "first": "" if one.first is None else shortened(one.first, MAX_VALUE_LENGTH),
        "second": "" if one.second is None else shortened(one.second, MAX_VALUE_LENGTH),
        "kind": one.kind,
    }
