"""The bounded list: a page of a bounded part of the rows, however big the table is and however few of them match."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from tasks.admin.formatting import count_text
from tasks.models import ListedQuerySet, made_at
from tasks.queries.scan import Scan, scan

#: Counting stops here: an exact count of millions of rows takes seconds, and nobody turns so many pages.
MAX_COUNTED = 5_000
#: The parameter that leads to older rows: the list begins behind this key.
BEFORE_VAR = "before"


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


class BoundedChangeList(ChangeList):
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


def only(rows: Any, keys: Sequence[Any]) -> Any:
    """Narrow a query set to some rows."""
    wanted = Q(pk__in=keys)
    return rows.within(wanted) if isinstance(rows, ListedQuerySet) else rows.filter(wanted)
