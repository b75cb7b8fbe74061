"""What the control plane's pages share: they show, change nothing by themselves, and stay fast on big tables."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst

from tasks.admin.display import Display
from tasks.admin.formatting import EMPTY, count_text

#: Rows are counted up to here; counting millions for a number that nobody reads takes seconds.
MOST_COUNTED = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than ``MOST_COUNTED``; older rows are found by filter or search."""

    @cached_property
    def count(self) -> int:
        """Rows, as far as they are counted."""
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_COUNTED].count())

    @property
    def is_capped(self) -> bool:
        """Whether there may be more."""
        return self.count == MOST_COUNTED

    @property
    def count_as_text(self) -> str:
        """How many there are, written."""
        return count_text(self.count, is_capped=self.is_capped)


class List(ChangeList):
    """One page of rows, with what other tables know about them."""

    def get_results(self, request: HttpRequest) -> None:
        """Let the admin complete the rows of the page, all in one go."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        self.model_admin.complete(self.result_list)  # type: ignore[attr-defined]


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows; changes go through the verbs."""

    actions = None
    change_list_template = "admin/read_only_list.html"
    change_form_template = "admin/read_only_form.html"
    list_per_page = 50
    ordering = ("-pk",)
    paginator = CappedPaginator
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    sortable_by = ()
    #: What an empty list says.
    nothing = "There are none."
    #: What a row's page says first; what a row has none of is left out.
    facts: tuple[Display, ...] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody may."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody may."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody may."""
        return False

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Show what is named: Django would show every field."""
        return list(self.fieldsets or ())

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        """Name all fields of the page, computed ones too."""
        return flatten_fieldsets(self.get_fieldsets(request, obj))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Name the list's class."""
        return List

    def complete(self, rows: list[Any]) -> None:
        """Add to the rows of one page what its columns need from elsewhere."""

    def story(self, request: HttpRequest, row: Any) -> Mapping[str, Any]:
        """Say what a row's page needs beside its fields."""
        return {}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Call the list what it is: Django would ask to select something to view."""
        context = {"title": capfirst(str(self.opts.verbose_name_plural)), "nothing": self.nothing}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add the row's story."""
        row = self.get_object(request, admin.utils.unquote(object_id))
        story: Mapping[str, Any] = {}
        if row and self.has_view_permission(request, row):
            self.complete([row])
            story = {"facts": self._stated(row), **self.story(request, row)}
        return super().change_view(request, object_id, form_url, {**story, **(extra_context or {})})

    def _stated(self, row: Any) -> list[dict[str, str]]:
        stated = [{"label": capfirst(fact.short_description), "value": fact(row)} for fact in self.facts]  # type: ignore[attr-defined]
        return [fact for fact in stated if fact["value"] not in ("", EMPTY)]
