"""The schedule: what runs again and again, and when."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now

from tasks import registry
from tasks.models.ids import new_id
from tasks.models.task import Task
from tasks.schedule_definition import DEFINITION
from tasks.states import FINAL, CatchUp, Overlap
from tasks.timetable import LONGEST_CRON, LONGEST_ZONE, Timetable


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    """Schedules by what they do next."""

    def active(self) -> Self:
        """Not paused."""
        return self.filter(paused_at=None)

    def paused(self) -> Self:
        """Paused, by a person or by itself."""
        return self.exclude(paused_at=None)

    def due(self) -> Self:
        """Not paused, with something to do: a fire that has come or is kept, or a range to fill."""
        has_work = Q(next_fire_at__lte=Now()) | Q(buffered_fire_at__isnull=False) | Q(backfill_from__isnull=False)
        return self.active().filter(has_work)

    def with_their_busy(self) -> Self:
        """Add ``is_busy``, whether the last task has not ended, and ``now`` by the database's clock."""
        unfinished = Task.objects.filter(pk=OuterRef("last_task_id")).exclude(status__in=FINAL)
        return self.annotate(is_busy=Exists(unfinished), now=Now())

    def for_actor(self, name: str) -> Self:
        """Of this actor."""
        return self.filter(actor=name)

    def within_reach(self, *, actors: Collection[str], queues: Collection[str]) -> Self:
        """Of these actors, and whose tasks wait in these queues; empty means all."""
        rows = self.filter(actor__in=actors) if actors else self
        if not queues:
            return rows
        by_default = [spec.name for spec in registry.all_specs() if spec.queue in queues]
        return rows.filter(
            Q(options__queue__in=list(queues)) | (~Q(options__has_key="queue") & Q(actor__in=by_default))
        )


class Schedule(models.Model):
    """A task that is submitted again and again; each time is a fire."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100, unique=True)
    actor = models.CharField(max_length=255)
    payload = models.JSONField(
        default=dict, blank=True, help_text="Keyword arguments. {scheduled_at} and {scheduled_date} stand for the fire."
    )
    options = models.JSONField(default=dict, blank=True, help_text="Further fields of its tasks, as in a submission.")
    cron = models.CharField(max_length=LONGEST_CRON, blank=True, db_default="", default="")
    every_seconds = models.FloatField(null=True, blank=True)
    timezone = models.CharField(max_length=LONGEST_ZONE, db_default="UTC", default="UTC")
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    jitter_seconds = models.FloatField(db_default=0, default=0)
    overlap = models.CharField(max_length=14, choices=Overlap.choices, db_default=Overlap.SKIP, default=Overlap.SKIP)
    catch_up = models.CharField(max_length=4, choices=CatchUp.choices, db_default=CatchUp.LAST, default=CatchUp.LAST)
    catch_up_window_seconds = models.FloatField(db_default=86_400, default=86_400)
    pause_after_failures = models.PositiveSmallIntegerField(null=True, blank=True)

    #: All fires up to this are decided, and ``fired_offset_seconds`` is how far the zone was ahead of UTC then.
    fired_until = models.DateTimeField(db_default=Now())
    fired_offset_seconds = models.IntegerField(null=True, blank=True)
    next_fire_at = models.DateTimeField(null=True, blank=True)
    buffered_fire_at = models.DateTimeField(null=True, blank=True, help_text="Waits until the last task has ended.")
    last_fire_at = models.DateTimeField(null=True, blank=True)
    last_task_id = models.UUIDField(null=True, blank=True)
    skipped = models.PositiveIntegerField(db_default=0, help_text="Fires left out because a task had not ended.")
    missed = models.PositiveIntegerField(db_default=0, help_text="Fires left out because no scheduler ran.")
    problem = models.TextField(db_default="", blank=True, help_text="Why its last fire made no task yet.")
    backfill_from = models.DateTimeField(null=True, blank=True)
    backfill_until = models.DateTimeField(null=True, blank=True)

    paused_at = models.DateTimeField(null=True, blank=True)
    paused_by = models.CharField(max_length=150, db_default="", blank=True)
    pause_reason = models.CharField(max_length=200, db_default="", blank=True)
    failures_since = models.DateTimeField(db_default=Now(), help_text="Failures in a row count from here.")

    declared = models.JSONField(null=True, blank=True, help_text="What code declares; empty: people made it.")
    taken_over_at = models.DateTimeField(null=True, blank=True)
    taken_over_by = models.CharField(max_length=150, db_default="", blank=True)

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    version = models.PositiveIntegerField(db_default=1, default=1, help_text="Raised by edits; the ETag.")
    created_at = models.DateTimeField(db_default=Now())

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        db_table = "callboard_schedule"
        permissions = [
            ("pause_schedule", "Can pause and resume schedules"),
            ("run_schedule", "Can run schedules now and for past times"),
        ]
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="schedule_cron_or_interval",
                condition=Q(cron="", every_seconds__gte=1) | (~Q(cron="") & Q(every_seconds__isnull=True)),
            ),
            models.CheckConstraint(
                name="schedule_backfill_has_both_ends",
                condition=Q(backfill_from__isnull=True, backfill_until__isnull=True)
                | Q(backfill_from__isnull=False, backfill_until__isnull=False),
            ),
            models.CheckConstraint(
                name="schedule_choices_known", condition=Q(overlap__in=Overlap.values, catch_up__in=CatchUp.values)
            ),
        ]
        indexes = [
            # The cron loop: what fires next.
            models.Index("next_fire_at", name="schedule_due_idx", condition=Q(paused_at__isnull=True)),
            # The cron loop: what has something to do before that.
            models.Index(
                F("id"),
                name="schedule_pending_idx",
                condition=Q(buffered_fire_at__isnull=False) | Q(backfill_from__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def timetable(self) -> Timetable:
        """When it fires."""
        return Timetable(
            anchor=self.created_at,
            cron=self.cron,
            every_seconds=self.every_seconds,
            timezone=self.timezone,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
        )

    @property
    def queue(self) -> str | None:
        """The queue of its tasks; None if its actor is not declared in this process and it names none."""
        named: str | None = self.options.get("queue")
        return named or next((spec.queue for spec in registry.all_specs() if spec.name == self.actor), None)

    @property
    def args(self) -> list[Any]:
        """Positional arguments, of which a schedule has none; what shows a task's data can show a schedule's."""
        return []

    @property
    def is_declared(self) -> bool:
        """Whether code declares it."""
        return self.declared is not None

    def delayed(self, fire: datetime) -> datetime:
        """Give the moment at which the task of a fire may start: up to the jitter later, and the same each time."""
        digest = hashlib.blake2b(f"{self.pk} {fire.timestamp()}".encode(), digest_size=8).digest()
        part = int.from_bytes(digest, "big") / 2**64
        return fire + timedelta(seconds=part * self.jitter_seconds)

    @property
    def definition(self) -> dict[str, Any]:
        """What people or code say of it."""
        return {name: getattr(self, name) for name in DEFINITION}
