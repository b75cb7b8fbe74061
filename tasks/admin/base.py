"""Read-only admin pages that stay fast on big tables: the base of every page of the control plane."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import flatten_fieldsets, quote, unquote
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR, ChangeList
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.text import capfirst

from tasks.admin.change_list import BEFORE_VAR, BoundedChangeList, CappedPaginator
from tasks.admin.display import Display
from tasks.admin.formatting import EMPTY, escape_invisible, shortened
from tasks.contract.access import VIEW_JOURNAL
from tasks.contract.fields import InvalidValue, Reader, digits, identifier, text

#: Parameters that a message names.
MAX_NAMED = 5
#: Keys are ids or names of queues.
_READ_KEY = text(100)
_POSITIONS: Mapping[str, Reader] = {PAGE_VAR: digits(1, 10**9 - 1), BEFORE_VAR: identifier}


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows; only verbs change them."""

    actions = None
    change_list_template = "callboard/read_only_list.html"
    change_form_template = "callboard/read_only_form.html"
    list_per_page = 50
    ordering = ("-pk",)
    paginator = CappedPaginator
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    sortable_by = ()
    #: On the button that leads to the form of a new row.
    add_label = "Add"
    #: The text of an empty list, and the one when filters or search leave nothing; default: "No …." and "No … match."
    empty_text = no_match_text = ""
    #: The first lines of a row's page; fields without a value are left out.
    summary_fields: tuple[Display, ...] = ()
    #: The model field with the row's state, if it is one with choices.
    state_field: str | None = "status"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse everyone."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse everyone."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse everyone."""
        return False

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Show only the named fields: Django would show all of them."""
        return list(self.fieldsets or ())

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        """Return all fields of the page, computed ones included."""
        return flatten_fieldsets(self.get_fieldsets(request, obj))

    def hide_data(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        """Replace the data of rows by what the user sees of it; nothing here ever saves a row."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list's class."""
        return BoundedChangeList

    def name_of(self, row: Any) -> str:
        """Name a row in headings and messages."""
        return escape_invisible(str(row))

    def describe(self, row: Any) -> str:
        """Tell a row from similar ones, in a line of the confirmation page."""
        return self.name_of(row)

    def counted(self, count: int) -> str:
        """Write a number of rows, as in "3 tasks"."""
        return f"{count:,} {self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural}"

    def address_of(self, pk: Any) -> str:
        """Return the address of a row's page."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(pk)])

    def annotate(self, rows: list[Any]) -> None:
        """Add data from other tables to the rows of one page."""

    def shared_context(self, request: HttpRequest, row: Any) -> Mapping[str, Any]:
        """Return the template context that the pages of all kinds of rows share."""
        return {}

    def page_context(self, request: HttpRequest, row: Any) -> Mapping[str, Any]:
        """Return the template context of a row's page beyond its fields."""
        return {}

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Find a row by the key in an address, without what the user may not see.

        Raises:
            Http404: the text cannot be a key.
        """
        if not self._is_key(object_id):
            raise Http404
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            self.hide_data(request, [row])
        return row

    def _is_key(self, value: str) -> bool:
        try:
            self.opts.pk.to_python(_READ_KEY(value))
        except (InvalidValue, ValidationError):
            return False
        return True

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Set the title, for which Django has "Select … to view", and take only this list's parameters."""
        if redirection := self._ignore_undeclared(request):
            return redirection
        if not all(map(self._is_key, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            raise BadRequest(f"{ACTION_CHECKBOX_NAME}: expected keys of rows")
        context = {
            "title": capfirst(str(self.opts.verbose_name_plural)),
            "add_label": self.add_label,
            "empty_text": self.empty_text,
            "no_match_text": self.no_match_text,
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add the row's summary and its page context."""
        row = self.get_object(request, unquote(object_id))
        context: Mapping[str, Any] = {}
        if row and self.has_view_permission(request, row):
            self.annotate([row])
            names = {"row_name": self.name_of(row), "subtitle": escape_invisible(str(row))}
            shared = self.shared_context(request, row)
            context = {**names, "summary": self._summary(row), **shared, **self.page_context(request, row)}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show Django's log of one row, to users who may also read the journal."""
        if not request.user.has_perm(VIEW_JOURNAL.permission):
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)

    def listed(self, request: HttpRequest) -> Any:
        """Give the rows that the list with the parameters of this request has."""
        request.GET = self._declared(request.GET)  # type: ignore[assignment]
        return self.get_changelist_instance(request).get_queryset(request)

    def _ignore_undeclared(self, request: HttpRequest) -> HttpResponse | None:
        """Forget parameters that this list does not have; a reader is told, at the address without them."""
        asked = request.GET
        request.GET = self._declared(asked)  # type: ignore[assignment]
        ignored = [name for name in asked if name not in request.GET]
        if not ignored or request.method != "GET" or not self.has_view_permission(request):
            return None
        names = ", ".join(shortened(name, 40) for name in ignored[:MAX_NAMED])
        self.message_user(request, f"Unknown filters were ignored: {names}", messages.WARNING)
        query = request.GET.urlencode()
        return HttpResponseRedirect(f"{request.path}?{query}" if query else request.path)

    def _declared(self, asked: QueryDict) -> QueryDict:
        """Keep the parameters of this list's filters, search and pages; Django would filter by any other column."""
        names = {str(getattr(one, "parameter_name", "")) for one in self.list_filter}
        if self.search_fields:
            names.add(SEARCH_VAR)
        declared = asked.copy()
        for name in asked:
            if name not in names and not _is_position(name, str(asked[name])):
                del declared[name]
        return declared

    def _summary(self, row: Any) -> list[dict[str, str]]:
        lines = [
            {"label": capfirst(field.short_description), "value": field(row)}  # type: ignore[attr-defined]
            for field in self.summary_fields
        ]
        return [line for line in lines if line["value"] not in ("", EMPTY)]


def _is_position(name: str, value: str) -> bool:
    """Tell whether a parameter says where in a list its page begins."""
    if name not in _POSITIONS:
        return False
    try:
        _POSITIONS[name](value)
    except InvalidValue:
        return False
    return True
