"""The batch: tasks that are counted together, and what is submitted when they have ended."""

from __future__ import annotations

from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce, JSONObject, Now

from tasks.models.ids import new_id
from tasks.models.listing import ListedQuerySet
from tasks.models.settlement import is_unsettled
from tasks.states import ENDED, BatchStatus
from tasks.submission import OwnerId

#: What is counted of a batch: all of its tasks, and those that have ended.
COUNTS = ("total", "succeeded", "dead", "cancelled")
#: What a batch may submit, in the order in which it does.
CALLBACKS = ("on_death", "on_complete", "on_success")
LONGEST_NAME = 200


class BatchQuerySet(ListedQuerySet["Batch"]):
    """Batches by their status, and who may see them."""

    def owned_by(self, owner_id: OwnerId | None) -> Self:
        """Owned by this user; nobody's batches are never in it."""
        return self.none() if owner_id is None else self.led_by(Q(owner_id=owner_id))

    def in_status(self, statuses: Any) -> Self:
        """With one of these statuses."""
        return self.filter(status__in=statuses)

    def unfinished(self) -> Self:
        """Open, or waiting for tasks."""
        return self.exclude(status__in=ENDED)

    def cancellable(self) -> Self:
        """Not ended, and not being cancelled."""
        return self.unfinished().filter(cancel_before=None)

    def open(self) -> Self:
        """Taking further tasks."""
        return self.filter(status=BatchStatus.OPEN)

    def with_news(self) -> Self:
        """Add ``news``: what its counts change by when the leader adds what was written since."""
        sums = BatchDelta.objects.filter(batch_id=OuterRef("pk")).values("batch_id")
        news = JSONObject(**{name: Coalesce(Sum(name), 0) for name in COUNTS})
        return self.annotate(news=Subquery(sums.annotate(news=news).values("news")))


class Batch(models.Model):
    """Tasks that are counted, cancelled and waited for together.

    ``tasks.lifecycle`` adds to the counts: a verb that ends tasks leaves a delta, and the leader adds deltas up.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=LONGEST_NAME, db_default="", default="", blank=True)
    status = models.CharField(max_length=9, choices=BatchStatus.choices, db_default=BatchStatus.OPEN)
    total = models.IntegerField(db_default=0, default=0)
    succeeded = models.IntegerField(db_default=0, default=0)
    dead = models.IntegerField(db_default=0, default=0)
    cancelled = models.IntegerField(db_default=0, default=0)
    callbacks = models.JSONField(
        db_default={}, default=dict, blank=True, help_text="The rows of its callbacks, by on_death and so on."
    )
    called = models.JSONField(
        db_default={}, default=dict, blank=True, help_text="The tasks of those that were submitted; null: it failed."
    )
    awaits_death = models.BooleanField(
        db_default=False, default=False, help_text="It has an on_death that was not submitted yet."
    )
    trace_id = models.CharField(max_length=32, db_default="", default="")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    created_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    cancelled_by = models.CharField(max_length=150, db_default="", default="", blank=True)
    cancel_reason = models.CharField(max_length=200, db_default="", default="", blank=True)
    cancel_before = models.UUIDField(
        null=True, blank=True, help_text="Tasks older than this one are still to be cancelled; empty: none are."
    )

    settled_as = models.CharField(
        max_length=9,
        null=True,
        blank=True,
        help_text="As what its children know it, as in tasks. Empty: no task waits for it.",
    )

    objects = BatchQuerySet.as_manager()

    #: What its counts will change by; see ``with_news``.
    news: dict[str, int] | None = None

    class Meta:
        db_table = "callboard_batch"
        verbose_name_plural = "batches"
        permissions = [("cancel_batch", "Can cancel batches")]
        constraints = [
            models.CheckConstraint(name="batch_status_known", condition=Q(status__in=BatchStatus.values)),
            models.CheckConstraint(
                name="batch_open_iff_not_closed",
                condition=Q(status=BatchStatus.OPEN, closed_at__isnull=True)
                | (~Q(status=BatchStatus.OPEN) & Q(closed_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="batch_ended_at_iff_ended",
                condition=Q(status__in=sorted(ENDED), ended_at__isnull=False)
                | (~Q(status__in=sorted(ENDED)) & Q(ended_at__isnull=True)),
            ),
        ]
        indexes = [
            # Lists of one owner's batches.
            models.Index("owner", F("id").desc(), name="batch_owned_idx", condition=Q(owner__isnull=False)),
            # The leader: batches whose tasks have all ended, and those that call back because one has died.
            models.Index(
                F("id"),
                name="batch_due_idx",
                condition=Q(status=BatchStatus.RUNNING, total=F("succeeded") + F("dead") + F("cancelled"))
                | Q(awaits_death=True, dead__gt=0),
            ),
            # The leader: batches whose tasks are being cancelled.
            models.Index(F("id"), name="batch_cancelling_idx", condition=Q(cancel_before__isnull=False)),
            # The leader: batches that have ended, or run again, and whose children do not know yet.
            models.Index(F("id"), name="batch_unsettled_idx", condition=is_unsettled(ENDED)),
        ]

    def __str__(self) -> str:
        return self.name or str(self.pk)

    def count(self, name: str) -> int:
        """Count its tasks, or those that ended so, with what the leader has not added yet if ``news`` were read."""
        counted: int = getattr(self, name)
        return counted + (self.news or {}).get(name, 0)

    @property
    def unfinished(self) -> int:
        """How many of its tasks have not ended."""
        return self.count("total") - self.count("succeeded") - self.count("dead") - self.count("cancelled")


class BatchDelta(models.Model):
    """What one statement did to the tasks of one batch, until the leader adds it up.

    A counter in the batch's row would be locked until each commit is on disk.
    """

    id = models.BigAutoField(primary_key=True)
    batch = models.ForeignKey(
        Batch, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="deltas"
    )
    total = models.IntegerField(db_default=0)
    succeeded = models.IntegerField(db_default=0)
    dead = models.IntegerField(db_default=0)
    cancelled = models.IntegerField(db_default=0)

    class Meta:
        db_table = "callboard_batchdelta"
        indexes = [
            # Counts of a batch, and whether it has really ended.
            models.Index("batch", name="batchdelta_batch_idx"),
        ]

    def __str__(self) -> str:
        return f"of batch {self.batch_id}"
