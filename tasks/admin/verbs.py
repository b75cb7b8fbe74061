"""What an operator does on a page or to the rows of a list: always a POST, confirmed, permitted and kept in the log."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import quote, unquote
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from tasks.admin.base import ReadOnlyAdmin
from tasks.admin.formatting import badge, count_text, relative_time, shortened

#: Rows that one statement moves.
CHUNK = 1_000
#: Rows that one action moves: a browser waits for it, and a proxy not for ever.
MOST_AT_ONCE = 10_000
#: Rows that the question names.
MOST_NAMED = 5
LONGEST_REASON = 200
#: Entries of the log that a row's page shows.
MOST_CHANGES = 10
LONGEST_FILTER = 120


@dataclass(frozen=True)
class Verb:
    """Something to do to rows.

    Parameters:
        name: in addresses, as "cancel".
        label: on buttons.
        done: as in "3 tasks cancelled".
        permission: who may.
        effect: what will happen, in a sentence.
        legal: keeps the rows to which it can be done now.
        run: does it to rows with these ids, in the name of this user; returns how many it was done to.
    """

    name: str
    label: str
    done: str
    permission: str
    effect: str
    legal: Callable[[Any], Any]
    run: Callable[[Sequence[Any], str], int]
    is_danger: bool = False


class OperatedAdmin(ReadOnlyAdmin):
    """Shows, and offers verbs."""

    verbs: tuple[Verb, ...] = ()
    #: The column with the rows' state, if it is one with choices.
    state_field: str | None = "status"

    def get_urls(self) -> list[URLPattern]:
        """Add one address per row and verb."""
        view = self.admin_site.admin_view(self.do_view)
        return [path("<path:object_id>/do/<str:name>/", view, name=self._address_name()), *super().get_urls()]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer the verbs that the user may use."""
        if IS_POPUP_VAR in request.GET:
            return {}
        return {verb.name: (_action(verb), verb.name, f"{verb.label}…") for verb in self._permitted(request)}

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add the buttons, and who pressed them."""
        pk = unquote(object_id)
        added = {"doable": self._doable(request, pk), "changes": self._changes(request, pk)}
        return super().change_view(request, object_id, form_url, {**added, **(extra_context or {})})

    def do_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Ask, or do it to one row and go back to its page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.get_object(request, unquote(object_id))
        verb = next((verb for verb in self.verbs if verb.name == name), None)
        if row is None or verb is None:
            raise Http404
        if not (self.has_view_permission(request, row) and verb in self._permitted(request)):
            raise PermissionDenied
        rows = self._rows().filter(pk=row.pk)
        if "confirmed" not in request.POST:
            return self._ask(request, verb, rows, row=row)
        if verb.legal(rows).exists() and verb.run([row.pk], request.user.get_username()):
            self.log_change(request, row, _note(verb, request))
            self.message_user(request, f"{row}: {verb.done}.", messages.SUCCESS)
        else:
            self.message_user(request, f"Nothing was done: {row} cannot be {verb.done} any more.", messages.WARNING)
        return HttpResponseRedirect(self._page(row.pk))

    def do_to_many(self, request: HttpRequest, rows: Any, verb: Verb) -> HttpResponse | None:
        """Ask, or do it to all rows it can be done to, as many as go at once; None goes back to the list."""
        if "confirmed" not in request.POST:
            return self._ask(request, verb, rows)
        rows = self._asked_about(request, rows)
        ids = list(verb.legal(rows).order_by("-pk").values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
        by, chosen = request.user.get_username(), ids[:MOST_AT_ONCE]
        done = sum(verb.run(chosen[start : start + CHUNK], by) for start in range(0, len(chosen), CHUNK))
        summary = f"{self._counted(done)} {verb.done}"
        self._log_many(request, f"{summary}. {_note(verb, request)}", done)
        skipped = 0 if _is_across(request) else max(len(request.POST.getlist(ACTION_CHECKBOX_NAME)) - done, 0)
        skipped_note = f"; {skipped:,} skipped, which cannot be" if skipped else ""
        more_note = (
            f"; there are more than {MOST_AT_ONCE:,}, do it again for the rest" if len(ids) > len(chosen) else ""
        )
        level = messages.SUCCESS if done and not skipped else messages.WARNING
        self.message_user(request, f"{summary}{skipped_note}{more_note}.", level)
        return None

    def _asked_about(self, request: HttpRequest, rows: Any) -> Any:
        """Leave out what came since the question."""
        until = request.POST.get("until")
        if not until:
            return rows
        try:
            return rows.filter(pk__lte=self.opts.pk.to_python(until))
        except ValidationError as error:
            raise BadRequest("until: expected a key") from error

    def named(self, row: Any) -> str:
        """Tell one of the rows from another, in a line."""
        return str(row)

    def _ask(self, request: HttpRequest, verb: Verb, rows: Any, *, row: Any = None) -> HttpResponse:
        legal = verb.legal(rows)
        named = list(legal.order_by("-pk")[:MOST_NAMED])
        counts = self._counts(rows, legal)
        possible = sum(count["possible"] for count in counts)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.label} {self._asked(row, possible)}?" if possible else "Nothing to do",
            "opts": self.opts,
            "verb": verb,
            "row": row,
            "back": self._page(row.pk) if row else request.get_full_path(),
            "counts": [_written(count) for count in counts],
            "possible": possible,
            "most_at_once": count_text(MOST_AT_ONCE),
            "named": [] if row else [self.named(one) for one in named],
            "is_across": _is_across(request),
            "filters": self._filters(request) if _is_across(request) else [],
            "until": named[0].pk if named and _is_across(request) else "",
            "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "longest_reason": LONGEST_REASON,
        }
        return TemplateResponse(request, "admin/confirm.html", context)

    def _asked(self, row: Any, possible: int) -> str:
        return f"“{row}”" if row else self._counted(min(possible, MOST_AT_ONCE))

    def _filters(self, request: HttpRequest) -> list[str]:
        """Name what narrows the list down."""
        changelist: Any = self.get_changelist_instance(request)
        chosen = [
            f"{spec.title}: {choice['display']}"
            for spec in changelist.filter_specs
            if spec.value()
            for choice in spec.choices(changelist)
            if choice["selected"]
        ]
        search = [f"search: {changelist.query}"] if changelist.query else []
        return [shortened(one, LONGEST_FILTER) for one in (*chosen, *search)]

    def _counts(self, rows: Any, legal: Any) -> list[dict[str, Any]]:
        """Count by state what was chosen and what it can be done to, up to one more than goes at once."""
        chosen, possible = self._count_by_state(rows), self._count_by_state(legal)
        field: Any = self.opts.get_field(self.state_field) if self.state_field else None
        labels = dict(field.flatchoices) if field else {}
        return [
            {
                "state": badge(str(state) or "open", str(labels[state])) if labels else "",
                "chosen": count,
                "possible": min(possible[state], count),
                "skipped": max(count - possible[state], 0),
            }
            for state, count in sorted(chosen.items(), key=lambda pair: -pair[1])
        ]

    def _count_by_state(self, rows: Any) -> Counter[Any]:
        states = rows.order_by("-pk").values_list(self.state_field or "pk", flat=True)[: MOST_AT_ONCE + 1]
        return Counter(states) if self.state_field else Counter({"": len(states)} if states else {})

    def _doable(self, request: HttpRequest, object_id: str) -> list[dict[str, Any]]:
        row = self.get_object(request, object_id)
        if row is None:
            return []
        rows = self._rows().filter(pk=row.pk)
        return [
            {
                "label": verb.label,
                "is_danger": verb.is_danger,
                "url": reverse(f"admin:{self._address_name()}", args=[quote(row.pk), verb.name]),
            }
            for verb in self._permitted(request)
            if verb.legal(rows).exists()
        ]

    def _changes(self, request: HttpRequest, object_id: str) -> list[Mapping[str, Any]]:
        if not request.user.has_perm("admin.view_logentry"):
            return []
        entries = LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(self.model), object_id=object_id
        )
        return changes(entries.select_related("user").order_by("-pk")[:MOST_CHANGES])

    def _permitted(self, request: HttpRequest) -> list[Verb]:
        return [verb for verb in self.verbs if request.user.has_perm(verb.permission)]

    def _log_many(self, request: HttpRequest, note: str, done: int) -> None:
        """Leave one entry for all; what was done to each is in its own events."""
        if done:
            LogEntry.objects.create(
                user_id=int(request.user.pk or 0),
                content_type=ContentType.objects.get_for_model(self.model),
                object_repr=self._counted(done),
                action_flag=CHANGE,
                change_message=note,
            )

    def _rows(self) -> Any:
        return self.model._default_manager.all()

    def _counted(self, count: int) -> str:
        return f"{count:,} {self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural}"

    def _page(self, pk: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(pk)])

    def _address_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_do"


def one_by_one(act: Callable[[Any, str], Any], *, refusals: tuple[type[Exception], ...]) -> Callable[..., int]:
    """Make a batch of a verb for one row; rows that it refuses are skipped."""

    def run(ids: Sequence[Any], by: str) -> int:
        return sum(_is_done(act, id, by, refusals) for id in ids)

    return run


def _is_done(act: Callable[[Any, str], Any], id: Any, by: str, refusals: tuple[type[Exception], ...]) -> bool:
    try:
        act(id, by)
    except refusals:
        return False
    return True


def _action(verb: Verb) -> Callable[[Any, HttpRequest, Any], HttpResponse | None]:
    def act(model_admin: OperatedAdmin, request: HttpRequest, rows: Any) -> HttpResponse | None:
        return model_admin.do_to_many(request, rows, verb)

    return act


def _is_across(request: HttpRequest) -> bool:
    return request.POST.get("select_across") not in (None, "", "0")


def _written(count: dict[str, Any]) -> dict[str, str]:
    return {key: count_text(value) if isinstance(value, int) else value for key, value in count.items()}


def _note(verb: Verb, request: HttpRequest) -> str:
    reason = request.POST.get("reason", "").strip()[:LONGEST_REASON]
    return f"{verb.label}: {reason}" if reason else f"{verb.label}."


def changes(entries: Any) -> list[Mapping[str, Any]]:
    """Shape log entries for a page."""
    return [
        {
            "by": entry.user.get_username(),
            "at": relative_time(entry.action_time),
            "what": entry.get_change_message() or entry.get_action_flag_display(),
            "object": shortened(entry.object_repr, 80),
            "url": entry.get_admin_url() if entry.object_id else None,
        }
        for entry in entries
    ]
