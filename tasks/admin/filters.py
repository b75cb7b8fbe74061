"""Filters of the lists. They offer known values, so that no filter runs ``SELECT DISTINCT`` over a big table."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from tasks import registry
from tasks.admin.change_list import BEFORE_VAR
from tasks.admin.formatting import count_text, duration, escape_invisible, local
from tasks.contract.fields import InvalidValue, Reader, text
from tasks.contract.filters import error_type
from tasks.models import Batch, BatchQuerySet, Queue, Task, TaskQuerySet
from tasks.priority import BANDS
from tasks.queries import counts
from tasks.queries.throughput import ended_in
from tasks.states import LISTED_OBSTACLES, BatchStatus, Obstacle, Status, WorkerStatus


class KnownValuesFilter(ABC, admin.SimpleListFilter):
    """Applies a value that it offers; any other value finds nothing and never reaches the database."""

    template = "callboard/filter.html"
    #: Whether it is shown as a row of links above the list.
    is_chips = False

    def has_output(self) -> bool:
        """Apply a given value also while there is none to offer: Django would leave the list unfiltered."""
        return super().has_output() or self.value() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the selected value."""
        value = self.value()
        if value is None:
            return queryset
        known = {str(key) for key, _ in self.lookup_choices}
        return self.filtered(queryset, value) if value in known else queryset.none()

    @abstractmethod
    def filtered(self, rows: Any, value: str) -> QuerySet[Any]:
        """Keep the rows with this value."""


class ChipsFilter(KnownValuesFilter):
    """A row of links above the list, with counts while no other filter is applied."""

    template = "callboard/chips.html"
    is_chips = True

    def counts(self) -> Mapping[str, str]:
        """Count rows by value where that is cheap."""
        return {}

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Add each value's colour and count to its link."""
        is_alone = not changelist.query and set(changelist.params) <= {str(self.parameter_name)}
        counts = self.counts() if is_alone else {}
        kinds = ["", *(str(key) for key, _ in self.lookup_choices)]
        for kind, choice in zip(kinds, super().choices(changelist), strict=True):
            yield {**choice, "kind": kind.lower(), "count": counts.get(kind, "")}


class StatusFilter(ChipsFilter):
    """By status."""

    title = parameter_name = "status"

    def counts(self) -> Mapping[str, str]:
        """Count tasks by status, capped."""
        counted = counts.counts_by_status()
        return {status.value: count_text(one.number, is_capped=one.is_capped) for status, one in counted.items()}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the statuses."""
        return Status.choices

    def filtered(self, rows: TaskQuerySet, value: str) -> QuerySet[Task]:
        """Keep one status."""
        return rows.in_status([Status(value)])


class BatchStatusFilter(ChipsFilter):
    """Batches by status."""

    title = parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the statuses."""
        return BatchStatus.choices

    def filtered(self, rows: BatchQuerySet, value: str) -> QuerySet[Batch]:
        """Keep one status."""
        return rows.in_status([BatchStatus(value)])


class WorkerStatusFilter(ChipsFilter):
    """Workers by status; hides gone workers by default."""

    title = parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the choices."""
        return [("silent", "Silent"), ("gone", "Gone"), ("all", "All")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Name the default."""
        first, *others = super().choices(changelist)
        yield {**first, "display": "Present"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the selected value; hide gone workers by default."""
        if self.value() is None:
            return queryset.exclude(status=WorkerStatus.GONE)
        return super().queryset(request, queryset)

    def filtered(self, rows: Any, value: str) -> QuerySet[Any]:
        """Keep one status."""
        if value == "all":
            return rows  # type: ignore[no-any-return]
        return rows.silent() if value == "silent" else rows.filter(status=WorkerStatus.GONE)  # type: ignore[no-any-return]


class TypedFilter(KnownValuesFilter):
    """By an exact value, typed or chosen; one that the column cannot have finds nothing."""

    template = "callboard/typed_filter.html"
    read: Reader = staticmethod(text(255))
    #: The other parameters of the list, which a typed value leaves as they are.
    others: Sequence[tuple[str, str]] = ()

    def has_output(self) -> bool:
        """Show the text field also while nothing can be chosen."""
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List what can be chosen, and the selected value."""
        values = {*self.declared(), *request.GET.getlist(str(self.parameter_name))[-1:]}
        return [(value, escape_invisible(value)) for value in sorted(values) if self._is_readable(value)]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Note the other parameters for the form."""
        left_out = {self.parameter_name, BEFORE_VAR}
        self.others = [(name, value) for name, value in changelist.params.items() if name not in left_out]
        return super().choices(changelist)

    def declared(self) -> Iterable[str]:
        """List what can be chosen."""
        return ()

    def _is_readable(self, value: str) -> bool:
        try:
            self.read(value)
        except InvalidValue:
            return False
        return True


class TagFilter(TypedFilter):
    """By tag."""

    title = parameter_name = "tag"

    def filtered(self, rows: TaskQuerySet, value: str) -> QuerySet[Task]:
        """Keep those that have it."""
        return rows.tagged(value)


class OwnerFilter(TypedFilter):
    """By the name of the user who submitted it."""

    title = parameter_name = "owner"

    def filtered(self, rows: TaskQuerySet, value: str) -> QuerySet[Task]:
        """Keep the tasks of one user."""
        users: Any = get_user_model()
        owner = users._default_manager.filter(**{users.USERNAME_FIELD: value}).first()
        return rows.owned_by(owner.pk if owner else None)


class ErrorTypeFilter(TypedFilter):
    """By the type of the last error."""

    title, parameter_name = "error", "error_type"
    read = staticmethod(error_type)

    def filtered(self, rows: TaskQuerySet, value: str) -> QuerySet[Task]:
        """Keep one type."""
        return rows.with_error_type(value)


class QueueFilter(TypedFilter):
    """By queue."""

    title = parameter_name = "queue"

    def declared(self) -> Iterable[str]:
        """List the queues."""
        return Queue.objects.values_list("name", flat=True)

    def filtered(self, rows: Any, value: str) -> QuerySet[Any]:
        """Keep one queue."""
        return rows.in_queue(value)  # type: ignore[no-any-return]


class ActorFilter(TypedFilter):
    """By actor."""

    title = parameter_name = "actor"

    def declared(self) -> Iterable[str]:
        """List the declared actors."""
        return registry.actor_names()

    def filtered(self, rows: Any, value: str) -> QuerySet[Any]:
        """Keep one actor."""
        return rows.for_actor(value)  # type: ignore[no-any-return]


class BandFilter(KnownValuesFilter):
    """By priority band."""

    title = "priority"
    parameter_name = "band"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the bands."""
        return [(band.name, f"{band.name} ({band.lowest}–{band.highest})") for band in BANDS]

    def filtered(self, rows: TaskQuerySet, value: str) -> QuerySet[Task]:
        """Keep one band."""
        return rows.in_band(next(band for band in BANDS if band.name == value))


class WaitingFilter(KnownValuesFilter):
    """By why a task waits."""

    title = "waiting for"
    parameter_name = "waiting_for"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the reasons."""
        return [(one.value, one.label) for one in LISTED_OBSTACLES]

    def filtered(self, rows: TaskQuerySet, value: str) -> QuerySet[Task]:
        """Keep the tasks that wait for this."""
        return rows.waiting_for(Obstacle(value))


class CreatedFilter(KnownValuesFilter):
    """By age."""

    title = parameter_name = "created"
    MINUTES = (("15", "last 15 minutes"), ("60", "last hour"), ("1440", "last 24 hours"), ("10080", "last 7 days"))

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the ages."""
        return self.MINUTES

    def filtered(self, rows: TaskQuerySet, value: str) -> QuerySet[Task]:
        """Keep younger tasks."""
        return rows.created_after(timezone.now() - timedelta(minutes=int(value)))


def ended_between(start: datetime, seconds: int) -> str:
    """Write the value of ``EndedFilter`` for attempts that ended from a moment on, for so long."""
    return f"{int(start.timestamp())}-{seconds}"


class EndedFilter(KnownValuesFilter):
    """By when an attempt ended. Only the bars of charts link here."""

    title = parameter_name = "ended"
    #: It finds so many of the newest tasks, and looks through so many seconds.
    MOST, LONGEST_SECONDS = 2_000, 86_400

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """Name the selected time; without one there is nothing to choose from."""
        value = request.GET.get("ended", "")
        if (found := self._range(value)) is None:
            return []
        return [(value, f"{local(found[0], '%a %d %b %H:%M %Z')}, {duration((found[1] - found[0]).total_seconds())}")]

    def filtered(self, rows: TaskQuerySet, value: str) -> QuerySet[Task]:
        """Keep tasks of which an attempt ended in that time."""
        found = self._range(value)
        ids = ended_in(*found, most=self.MOST) if found else []
        return rows.filter(pk__in=ids).served_by("attempts", Q(pk__in=ids))

    def _range(self, value: str) -> tuple[datetime, datetime] | None:
        found = re.fullmatch("([0-9]{1,10})-([0-9]{1,5})", value)
        if found is None or not 0 < int(found[2]) <= self.LONGEST_SECONDS:
            return None
        start = datetime.fromtimestamp(int(found[1]), tz=UTC)
        return start, start + timedelta(seconds=int(found[2]))
