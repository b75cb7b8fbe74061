"""Read-only admin pages that stay fast on big tables: the base of every page of the control plane."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import flatten_fieldsets, quote
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR, ChangeList
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.core.paginator import Page, Paginator
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.text import capfirst

from tasks.admin.display import Display
from tasks.admin.formatting import EMPTY, count_text, escape_invisible, shortened
from tasks.contract.access import VIEW_JOURNAL
from tasks.contract.fields import InvalidValue, digits, identifier, text
from tasks.models import ListedQuerySet, made_at
from tasks.queries.scan import Scan, scan

#: Counting stops here: an exact count of millions of rows takes seconds, and nobody needs it.
MAX_COUNTED = 10_000


#: Leads to older rows: the list begins behind this key.
BEFORE_VAR = "before"
#: Parameters that a message names.
MAX_NAMED = 5
#: Keys are ids or names of queues.
_READ_KEY = text(100)


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Stops counting at ``MAX_COUNTED``, and looks at a bounded part of the rows."""

    @cached_property
    def scan(self) -> Scan:
        """The keys of the rows, and how far they were looked for."""
        rows: Any = self.object_list
        return scan(rows.values_list("pk", flat=True), wanted=MAX_COUNTED)

    @cached_property
    def count(self) -> int:
        """Number of rows that were found, capped."""
        return len(self.scan.found)

    def page(self, number: Any) -> Page:  # type: ignore[type-arg]
        """Read one page of the rows that were found."""
        first = (self.validate_number(number) - 1) * self.per_page
        rows: Any = self.object_list
        return Page(rows.filter(pk__in=self.scan.found[first : first + self.per_page]), number, self)

    @property
    def searched_until(self) -> datetime | None:
        """When the last row that was looked at was made, if older ones were not."""
        return made_at(self.scan.end) if self.scan.end else None

    @property
    def is_capped(self) -> bool:
        """Whether there may be more rows."""
        return self.count == MAX_COUNTED or not self.scan.is_complete

    @property
    def count_as_text(self) -> str:
        """The count, with a plus sign if it is capped."""
        return count_text(self.count, is_capped=self.is_capped)


def only(rows: Any, keys: list[Any]) -> Any:
    """Narrow a query set to some rows."""
    wanted = Q(pk__in=keys)
    return rows.within(wanted) if isinstance(rows, ListedQuerySet) else rows.filter(wanted)


class AnnotatedChangeList(ChangeList):
    """Reads one page of a bounded part of the list, annotates its rows, and hides what the user may not see."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Begin behind the row that the link to older ones names."""
        rows = super().get_queryset(request, exclude_parameters)
        before = request.GET.get(BEFORE_VAR)
        return rows.within(Q(pk__lt=before)) if before and isinstance(rows, ListedQuerySet) else rows

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Leave the position out: Django takes what no filter knows for the name of a column."""
        found: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name != BEFORE_VAR}

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, and let the model admin add data from other tables to the rows.

        Django's own method reads a list of one page, and one with a wrong page number, without a bound.
        """
        paginator: Any = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)
        self.page_num = min(max(self.page_num, 1), paginator.num_pages)
        self.paginator, self.result_count = paginator, paginator.count
        self.full_result_count, self.show_full_result_count = None, False
        self.show_admin_actions, self.can_show_all = True, False
        self.multi_page = self.result_count > self.list_per_page
        self.result_list = list(paginator.page(self.page_num).object_list)
        self.model_admin.annotate(self.result_list)  # type: ignore[attr-defined]
        self.model_admin.hide_data(request, self.result_list)  # type: ignore[attr-defined]

    @property
    def older_query(self) -> str:
        """The query of the list that begins where this one stopped looking."""
        end = self.paginator.scan.end
        return self.get_query_string({BEFORE_VAR: end}) if end else ""

    @property
    def before(self) -> datetime | None:
        """When the row that the list begins behind was made."""
        return made_at(UUID(self.params[BEFORE_VAR])) if BEFORE_VAR in self.params else None

    @property
    def newest_query(self) -> str:
        """The query of the same list from the newest row on."""
        return self.get_query_string(remove=[BEFORE_VAR])


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
    #: The text of an empty list.
    empty_text = "There are none."
    #: The text when filters or search leave nothing; default: "No … match."
    no_match_text = ""
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
        return AnnotatedChangeList

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
        """Set the title: Django's is "Select … to view". Take only the parameters of this list from the address."""
        asked = request.GET
        request.GET = self._declared(asked)  # type: ignore[assignment]
        left_out = [name for name in asked if name not in request.GET]
        if left_out and request.method == "GET" and self.has_view_permission(request):
            names = ", ".join(shortened(name, 40) for name in left_out[:MAX_NAMED])
            self.message_user(request, f"This list has no such filter, so it was left out: {names}", messages.WARNING)
            query = request.GET.urlencode()
            return HttpResponseRedirect(f"{request.path}?{query}" if query else request.path)
        if not all(map(self._is_key, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            raise BadRequest(f"{ACTION_CHECKBOX_NAME}: expected keys of rows")
        context = {
            "title": capfirst(str(self.opts.verbose_name_plural)),
            "empty_text": self.empty_text,
            "no_match_text": self.no_match_text or f"No {self.opts.verbose_name_plural} match.",
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add the row's summary and its page context."""
        row = self.get_object(request, admin.utils.unquote(object_id))
        context: Mapping[str, Any] = {}
        if row and self.has_view_permission(request, row):
            self.annotate([row])
            names = {"row_name": self.name_of(row), "subtitle": escape_invisible(str(row))}
            context = {**names, "summary": self._summary(row), **self.page_context(request, row)}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show Django's log of one row, to users who may also read the journal."""
        if not request.user.has_perm(VIEW_JOURNAL.permission):
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)

    def _declared(self, asked: QueryDict) -> QueryDict:
        """Keep the parameters of this list's filters, search and pages; Django would filter by any other column."""
        readers: dict[str, Any] = {PAGE_VAR: digits(1, 10**9 - 1), BEFORE_VAR: identifier}
        names = {str(getattr(one, "parameter_name", "")) for one in self.list_filter} | (
            {SEARCH_VAR} if self.search_fields else set()
        )
        declared = asked.copy()
        for name in asked:
            try:
                if name not in names:
                    readers[name](asked[name])
            except (KeyError, InvalidValue):
                del declared[name]
        return declared

    def _summary(self, row: Any) -> list[dict[str, str]]:
        lines = [
            {"label": capfirst(field.short_description), "value": field(row)}  # type: ignore[attr-defined]
            for field in self.summary_fields
        ]
        return [line for line in lines if line["value"] not in ("", EMPTY)]
