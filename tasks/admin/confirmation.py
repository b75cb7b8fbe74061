"""The confirmation page: asks before a verb runs, with counts of the rows that it changes and skips."""

from collections import Counter
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from tasks.admin.base import ReadOnlyAdmin
from tasks.admin.formatting import badge, count_text, shortened
from tasks.admin.verb import Verb
from tasks.contract.access import BEGIN_OPERATION
from tasks.contract.operations import DEFAULT_STOP_PERCENT
from tasks.lifecycle.journal import LONGEST_REASON
from tasks.lifecycle.operations import MOST_ROWS
from tasks.queries.dependencies import MOST_IN_WORKFLOW
from tasks.queries.scan import scan
from tasks.states import RUNNING_AGAIN

#: Rows that one action changes: a browser waits for the answer, and a proxy gives up after a while.
MAX_AT_ONCE = 10_000
#: Rows that the page names.
MAX_NAMED = 5
MAX_FILTER_LENGTH = 120


def confirmation(
    model_admin: ReadOnlyAdmin, request: HttpRequest, verb: Verb, rows: Any, *, row: Any = None
) -> HttpResponse:
    """Build the page for one row, its whole, or the selected rows.

    Parameters:
        row: whose page the verb was asked for on; None above a list.
    """
    is_single, is_operation = row and not verb.whole, row is None and becomes_operation(request, verb)
    most = MOST_IN_WORKFLOW if verb.whole else MOST_ROWS if is_operation else MAX_AT_ONCE
    legal = verb.legal(rows)
    # Among all matches: the newest may all be others.
    looked = scan(legal.values_list("pk", model_admin.state_field or "pk"), wanted=most + 1)
    named = list(legal.filter(pk__in=[pk for pk, _ in looked.found[:MAX_NAMED]]).order_by("-pk"))
    model_admin.hide_data(request, named)
    counts = _counts(model_admin, rows, verb, [state for _, state in looked.found], most=most)
    eligible = sum(count["eligible"] for count in counts)
    noun = model_admin.opts.verbose_name if is_single else model_admin.counted(min(eligible, most))
    unnamed = min(eligible, most) - len(named)
    of = f" of the {verb.whole.name} of" if verb.whole else ""
    what = f"{noun}{of} {model_admin.name_of(row)}" if row else noun
    context = {
        **model_admin.admin_site.each_context(request),
        "title": f"{verb.command.format(what)}?" if eligible else "Nothing to do",
        "button": verb.command.format(noun),
        "opts": model_admin.opts,
        "verb": verb,
        "row": row,
        "is_single": is_single,
        "has_following": verb.following is not None,
        "back": model_admin.address_of(row.pk) if row else request.get_full_path(),
        "state_label": _state_label(model_admin),
        "counts": [_as_text(count) for count in counts],
        "eligible": eligible,
        "max_at_once": count_text(most),
        "is_operation": is_operation,
        "has_canary": is_operation and verb.many in RUNNING_AGAIN,
        "default_stop_percent": DEFAULT_STOP_PERCENT,
        "named": [] if is_single else [model_admin.describe(one) for one in named],
        "is_complete": looked.is_complete,
        "unnamed": count_text(unnamed) if unnamed > 0 else "",
        "is_across": is_across(request),
        "filters": filters_of(model_admin, request) if is_across(request) else [],
        "until": named[0].pk if named and is_across(request) else "",
        "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "max_reason_length": LONGEST_REASON,
    }
    return TemplateResponse(request, "callboard/confirm.html", context)


def is_across(request: HttpRequest) -> bool:
    """Tell whether all matches are selected, beyond the rows of the page."""
    return request.POST.get("select_across") not in (None, "", "0")


def becomes_operation(request: HttpRequest, verb: Verb) -> bool:
    """Tell whether the leader does it: to all matches, for users who may begin an operation."""
    return bool(is_across(request) and verb.many and request.user.has_perm(BEGIN_OPERATION.permission))


def filters_of(model_admin: ReadOnlyAdmin, request: HttpRequest) -> list[str]:
    """Name the filters and the search that are applied."""
    changelist: Any = model_admin.get_changelist_instance(request)
    chosen = [
        f"{spec.title}: {choice['display']}"
        for spec in changelist.filter_specs
        if spec.value()
        for choice in spec.choices(changelist)
        if choice["selected"]
    ]
    search = [f"search: {changelist.query}"] if changelist.query else []
    return [shortened(one, MAX_FILTER_LENGTH) for one in (*chosen, *search)]


def _state_label(model_admin: ReadOnlyAdmin) -> str:
    field: Any = model_admin.opts.get_field(model_admin.state_field) if model_admin.state_field else None
    return str(field.verbose_name) if field else ""


def _counts(model_admin: ReadOnlyAdmin, rows: Any, verb: Verb, legal: list[Any], *, most: int) -> list[dict[str, Any]]:
    """Count selected and eligible rows by state, up to one more than one action changes.

    Parameters:
        legal: the states of the eligible ones, or anything where rows have no state.
        most: how many one action changes.
    """
    state_field = model_admin.state_field
    states = scan(rows.values_list(state_field or "pk", flat=True), wanted=most + 1).found
    others = [*verb.following(rows).values_list(state_field, flat=True)] if verb.following and state_field else []
    selected, eligible = (Counter(one if state_field else [""] * len(one)) for one in (states, legal))
    following = Counter(others)
    field: Any = model_admin.opts.get_field(state_field) if state_field else None
    labels = dict(field.flatchoices) if field else {}
    return [
        {
            "state": badge(str(state) or "open", str(labels[state])) if labels else "",
            "selected": count,
            "eligible": eligible[state],
            "following": following[state],
            "skipped": count - eligible[state] - following[state],
        }
        for state, count in sorted((selected | eligible).items(), key=lambda pair: -pair[1])
    ]


def _as_text(count: dict[str, Any]) -> dict[str, str]:
    return {key: count_text(value) if isinstance(value, int) else value for key, value in count.items()}
