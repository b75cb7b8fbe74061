"""Admin pages with verbs: every change is a POST, confirmed, permitted, and recorded in the journal."""

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from tasks.admin import confirmation, operator_log
from tasks.admin.base import ReadOnlyAdmin
from tasks.admin.change_list import only
from tasks.admin.confirmation import becomes_operation, is_across
from tasks.admin.operation_course import numbers_of
from tasks.admin.refusals import faults_of
from tasks.admin.verb import Verb
from tasks.contract.access import Caller
from tasks.contract.operations import read_course
from tasks.errors import CallboardError
from tasks.lifecycle import Author, operations
from tasks.lifecycle.journal import summarise
from tasks.lifecycle.operations import MOST_ROWS
from tasks.queries.scan import scan
from tasks.states import ObjectKind

#: Rows that one statement changes.
CHUNK = 1_000


class OperatedAdmin(ReadOnlyAdmin):
    """Shows rows and offers verbs."""

    verbs: tuple[Verb, ...] = ()
    #: What the journal calls a row.
    kind: ObjectKind
    has_operator_log = True

    def get_urls(self) -> list[URLPattern]:
        """Add one address for each row and verb."""
        view = self.admin_site.admin_view(self.verb_view)
        return [path("<path:object_id>/do/<str:name>/", view, name=self._verb_url_name()), *super().get_urls()]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer the verbs that the user may use."""
        return {
            verb.name: (_action(verb), verb.name, f"{verb.label}…")
            for verb in self._permitted(request)
            if not verb.whole
        }

    def shared_context(self, request: HttpRequest, row: Any) -> Mapping[str, Any]:
        """Add the buttons and the operator log."""
        log = operator_log.entries_of(request, self.kind, str(row.pk)) if self.has_operator_log else []
        return {"verb_buttons": self._verb_buttons(request, row), "operator_log": log}

    def verb_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Ask for confirmation, or run the verb on one row, or its whole, and go back to its page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.get_object(request, unquote(object_id))
        verb = next((verb for verb in self.verbs if verb.name == name), None)
        if row is None or verb is None:
            raise Http404
        if not (self.has_view_permission(request, row) and verb in self._permitted(request)):
            raise PermissionDenied
        back = HttpResponseRedirect(self.address_of(row.pk))
        try:
            ids = verb.whole.ids_of(row, Caller(request.user)) if verb.whole else [row.pk]
        except CallboardError as refusal:
            self.message_user(request, f"Nothing was done: {refusal.detail}.", messages.WARNING)
            return back
        rows = only(self._rows(), ids)
        if "confirmed" not in request.POST:
            return confirmation.confirmation(self, request, verb, rows, row=row)
        by = operator_log.author_of(request)
        if done := verb.run(ids, by) if verb.legal(rows).exists() else 0:
            what = self.counted(done) if verb.whole else f"{self.name_of(row)} was"
            self.message_user(request, f"{what} {verb.done}.", messages.SUCCESS)
        else:
            self.message_user(request, f"Nothing was done. {verb.condition}", messages.WARNING)
        return back

    def run_on_many(self, request: HttpRequest, rows: Any, verb: Verb) -> HttpResponse | None:
        """Ask for confirmation, or run the verb on the eligible rows; None goes back to the list."""
        if not is_across(request):
            rows = only(rows, request.POST.getlist(ACTION_CHECKBOX_NAME))
        if "confirmed" not in request.POST:
            return confirmation.confirmation(self, request, verb, rows)
        rows = self._confirmed_rows(request, rows)
        if becomes_operation(request, verb):
            return self._begin(request, rows, verb)
        by = operator_log.author_of(request, of_many=True)
        most = confirmation.MAX_AT_ONCE
        looked = scan(verb.legal(rows).values_list("pk", flat=True), wanted=most + 1)
        done = self._run(verb, looked.found[:most], by)
        skipped = 0 if is_across(request) else max(len(request.POST.getlist(ACTION_CHECKBOX_NAME)) - done, 0)
        notes = [f"{self.counted(done)} {verb.done}{f', {skipped:,} skipped. {verb.condition}' if skipped else '.'}"]
        if len(looked.found) > most:
            notes.append(f"More than {most:,} match: repeat the action for the rest.")
        if not looked.is_complete:
            notes.append("Older rows were not searched: repeat the action after “Search older ones”.")
        self.message_user(request, " ".join(notes), messages.SUCCESS if done and not skipped else messages.WARNING)
        return None

    def _begin(self, request: HttpRequest, rows: Any, verb: Verb) -> HttpResponse | None:
        """Make an operation of all matches: the leader does it, and its page shows how far it has come."""
        assert verb.many
        criteria = {"list": ", ".join(confirmation.filters_of(self, request)) or "all"}
        looked = scan(verb.legal(rows).values_list("pk", flat=True), wanted=MOST_ROWS + 1)
        if not looked.is_complete:
            criteria["searched"] = "the newest rows only"
        try:
            plan = read_course(numbers_of(request), verb=verb.many, criteria=criteria)
        except CallboardError as refusal:
            self.message_user(request, f"Nothing was begun: {faults_of(refusal)}.", messages.ERROR)
            return None
        operation = operations.begin(plan, looked.found, by=operator_log.author_of(request))
        self.message_user(request, f"{self.counted(operation.total)} will {verb.outcome}.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:callboard_operation_change", args=[operation.pk]))

    def _run(self, verb: Verb, ids: list[Any], by: Author) -> int:
        """Run the verb in chunks, and sum up what was done, also if one of them fails."""
        done = 0
        try:
            for start in range(0, len(ids), CHUNK):
                done += verb.run(ids[start : start + CHUNK], by)
        finally:
            summarise(by, verb.name, self.kind)
        return done

    def _confirmed_rows(self, request: HttpRequest, rows: Any) -> Any:
        """Leave out rows that are newer than the confirmation page."""
        until = request.POST.get("until")
        if not until:
            return rows
        try:
            return rows.filter(pk__lte=self.opts.pk.to_python(until))
        except ValidationError as error:
            raise BadRequest("until: expected a key") from error

    def _verb_buttons(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        rows = self._rows()
        return [
            {
                "label": verb.label,
                "is_danger": verb.is_danger,
                "url": reverse(f"admin:{self._verb_url_name()}", args=[quote(row.pk), verb.name]),
            }
            for verb in self._permitted(request)
            if verb.is_offered(row, rows)
        ]

    def _permitted(self, request: HttpRequest) -> list[Verb]:
        return [verb for verb in self.verbs if request.user.has_perm(verb.permission)]

    def _rows(self) -> Any:
        return self.model._default_manager.all()

    def _verb_url_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_do"


def _action(verb: Verb) -> Callable[[Any, HttpRequest, Any], HttpResponse | None]:
    def act(model_admin: OperatedAdmin, request: HttpRequest, rows: Any) -> HttpResponse | None:
        return model_admin.run_on_many(request, rows, verb)

    return act
