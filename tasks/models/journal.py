"""The journal: what a person, a deploy or a repair did, through which door and why."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from typing import Self
from uuid import UUID

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from tasks.models.task import Task
from tasks.states import Door, ObjectKind

#: A row of one act alone, or the summary of an act on many; the rows that the summary stands for are left out.
_IS_ACT = Q(operation_id=None) | Q(count__isnull=False)


class JournalQuerySet(models.QuerySet["Journal"]):
    """Rows of the journal by what was done, by whom, through which door and to what."""

    def acts(self) -> Self:
        """One row for each act: an act on many is its summary."""
        return self.filter(_IS_ACT)

    def newest_first(self) -> Self:
        """By id, which is by time."""
        return self.order_by("-id")

    def of_verb(self, verb: str) -> Self:
        """Of this verb."""
        return self.filter(verb=verb)

    def done_by(self, name: str) -> Self:
        """Done under this name."""
        return self.filter(by=name)

    def through(self, doors: Collection[Door]) -> Self:
        """Done through one of these doors."""
        return self.filter(door__in=doors)

    def of_kind(self, kinds: Collection[ObjectKind]) -> Self:
        """Done to objects of one of these kinds."""
        return self.filter(kind__in=kinds)

    def about(self, kind: ObjectKind, object_id: str) -> Self:
        """Done to this object."""
        return self.filter(kind=kind, object_id=object_id)

    def of_operation(self, operation_id: UUID) -> Self:
        """Of this act on many."""
        return self.filter(operation_id=operation_id)

    def found_by(self, text: str) -> Self:
        """Done to the object with this id or name of a queue, or to the dead letters of this task."""
        found = Q(object_id=text)
        with suppress(ValueError):
            found = Q(object_id=str(UUID(text))) | Q(task=UUID(text))
        return self.filter(found)

    def done_after(self, moment: datetime) -> Self:
        """Done after this time."""
        return self.filter(at__gt=moment)

    def done_before(self, moment: datetime) -> Self:
        """Done before this time."""
        return self.filter(at__lt=moment)


class Journal(models.Model):
    """One act on one object, or the summary of an act on many; never changed.

    What is done to a dead letter is done to its task, too: ``task`` is set, and both find the row.
    """

    at = models.DateTimeField(db_default=Now())
    verb = models.CharField(max_length=20)
    by = models.CharField(max_length=150, db_default="", blank=True, help_text="User name; empty for a repair.")
    door = models.CharField(
        max_length=9, choices=Door.choices, db_default="", blank=True, help_text="Empty: not recorded by that release."
    )
    reason = models.CharField(max_length=200, db_default="", blank=True)
    kind = models.CharField("object", max_length=11, choices=ObjectKind.choices)
    object_id = models.CharField("object ID", max_length=100, db_default="", blank=True, help_text="Empty: a summary.")
    object_name = models.CharField(
        max_length=300, db_default="", blank=True, help_text="The host and process of a worker, the name of a token."
    )
    task = models.ForeignKey(
        Task, null=True, blank=True, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False,
        related_name="events",
    )  # fmt: skip
    actor = models.CharField(max_length=255, db_default="", blank=True)
    queue = models.CharField(max_length=100, db_default="", blank=True)
    operation_id = models.UUIDField(null=True, blank=True, help_text="The same for all rows of one act on many.")
    count = models.PositiveIntegerField(null=True, blank=True, help_text="Of a summary: how many objects were changed.")
    detail = models.JSONField(db_default={}, blank=True)

    objects = JournalQuerySet.as_manager()

    class Meta:
        db_table = "callboard_journal"
        verbose_name = "journal entry"
        verbose_name_plural = "journal entries"
        ordering = ["id"]
        indexes = [
            # The history of a task, and that of any other object.
            models.Index("task", "id", name="journal_task_idx", condition=Q(task__isnull=False)),
            models.Index("object_id", "id", name="journal_object_idx"),
            # The journal's filters; all of its lists begin with the newest row.
            models.Index("by", F("id").desc(), name="journal_by_idx"),
            models.Index("verb", F("id").desc(), name="journal_verb_idx"),
            models.Index("at", name="journal_at_idx"),
            # What the summary of an act on many stands for.
            models.Index("operation_id", "id", name="journal_operation_idx", condition=Q(operation_id__isnull=False)),
            # The operator log of the overview.
            models.Index(F("id").desc(), name="journal_act_idx", condition=_IS_ACT),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.get_kind_display().lower()} {self.object_id}".rstrip()
