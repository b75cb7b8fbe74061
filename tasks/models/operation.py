"""The operation: one act on many rows, which the leader does in steps, and the rows that it is done to."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from tasks.models.ids import new_id
from tasks.models.task import Task
from tasks.states import OPERATION_ACTIVE, OPERATION_OVER, Door, ItemState, OperationState, OperationVerb

#: Its automatic stop looks at so many of the latest ends.
STOP_WINDOW = 50


class OperationQuerySet(models.QuerySet["Operation"]):
    """Operations by what they do and how far they are."""

    def in_states(self, states: Collection[OperationState]) -> Self:
        """In one of these states."""
        return self.filter(state__in=states)

    def unfinished(self) -> Self:
        """Neither done nor cancelled."""
        return self.exclude(state__in=OPERATION_OVER)

    def of_verb(self, verb: OperationVerb) -> Self:
        """That do this."""
        return self.filter(verb=verb)

    def done_by(self, name: str) -> Self:
        """Begun under this name."""
        return self.filter(by=name)

    def of_failure(self, fingerprint: str) -> Self:
        """On the dead letters of one failure."""
        return self.filter(failure=fingerprint)

    def newest_first(self) -> Self:
        """By id, which is by time."""
        return self.order_by("-id")


class Operation(models.Model):
    """One act on many rows; only ``tasks.lifecycle`` changes it.

    Its rows are fixed when it is made: what matches its filter later is not touched, and the count that was confirmed
    is the count that is done.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    verb = models.CharField(max_length=8, choices=OperationVerb.choices)
    state = models.CharField(max_length=9, choices=OperationState.choices, db_default=OperationState.PREVIEW)
    by = models.CharField(max_length=150, db_default="", blank=True)
    door = models.CharField(max_length=9, choices=Door.choices, db_default="", blank=True)
    reason = models.CharField(max_length=200, db_default="", blank=True)
    criteria = models.JSONField("filter", db_default={}, default=dict, blank=True, help_text="What chose its rows.")
    failure = models.CharField(max_length=32, db_default="", default="", blank=True)
    change = models.JSONField(db_default={}, default=dict, blank=True, help_text="Of an edit.")
    rate_per_second = models.FloatField(null=True, blank=True, help_text="Empty: as fast as it can.")
    canary = models.PositiveIntegerField(db_default=0, default=0, help_text="This many first, until they have ended.")
    stop_percent = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text=f"It stops if so many of the last {STOP_WINDOW} die again."
    )
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    #: Its rate counts from here on, and its automatic stop.
    paced_at = models.DateTimeField(null=True, blank=True)
    watched_from = models.DateTimeField(null=True, blank=True)
    #: The last item whose fate was looked at; 0: begin with the first.
    looked_to = models.BigIntegerField(db_default=0, default=0)
    note = models.CharField(max_length=300, db_default="", default="", blank=True, help_text="Why it stopped.")
    is_capped = models.BooleanField(db_default=False, default=False, help_text="More rows matched; it has the newest.")
    total = models.PositiveIntegerField(db_default=0, default=0)
    moved = models.PositiveIntegerField(db_default=0, default=0)
    skipped = models.PositiveIntegerField(db_default=0, default=0)
    skips = models.JSONField(db_default={}, default=dict, blank=True, help_text="How many were skipped, by reason.")
    succeeded = models.PositiveIntegerField(db_default=0, default=0)
    died = models.PositiveIntegerField("died again", db_default=0, default=0)
    ended = models.PositiveIntegerField(db_default=0, default=0, help_text="Cancelled, or removed, before they ran.")
    errors = models.PositiveIntegerField(db_default=0, default=0, help_text="Steps that failed and were repeated.")

    objects = OperationQuerySet.as_manager()

    class Meta:
        db_table = "callboard_operation"
        default_permissions = ("view", "add", "change")
        constraints = [
            models.CheckConstraint(name="operation_state_known", condition=Q(state__in=OperationState.values)),
            models.CheckConstraint(
                name="operation_counts_add_up",
                condition=Q(total__gte=F("moved") + F("skipped"))
                & Q(moved__gte=F("succeeded") + F("died") + F("ended")),
            ),
        ]
        indexes = [
            # What the leader looks at: those it works on, and those whose tasks still run.
            models.Index(
                "id",
                name="operation_open_idx",
                condition=~Q(state=OperationState.DONE) & ~Q(state=OperationState.PREVIEW),
            ),
            models.Index("failure", F("id").desc(), name="operation_failure_idx", condition=~Q(failure="")),
        ]

    def __str__(self) -> str:
        return f"{self.get_verb_display()} {self.total:,}"

    @property
    def left(self) -> int:
        """How many rows it has not come to."""
        return int(self.total - self.moved - self.skipped)

    @property
    def running(self) -> int:
        """How many of the tasks that it moved have not ended."""
        return int(self.moved - self.succeeded - self.died - self.ended)

    @property
    def is_over(self) -> bool:
        """Whether it is done or cancelled."""
        return self.state in OPERATION_OVER

    @property
    def is_active(self) -> bool:
        """Whether the leader works on it."""
        return self.state in OPERATION_ACTIVE


class OperationItem(models.Model):
    """A row that an operation is done to, in the order in which it is done."""

    id = models.BigAutoField(primary_key=True)
    operation = models.ForeignKey(
        Operation, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="items"
    )
    row_id = models.UUIDField(help_text="Of the task or dead letter.")
    task = models.ForeignKey(Task, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    state = models.CharField(max_length=9, choices=ItemState.choices, db_default=ItemState.WAITING, blank=True)
    note = models.CharField(max_length=100, db_default="", default="", blank=True, help_text="Why it was skipped.")
    moved_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "callboard_operationitem"
        default_permissions = ()
        indexes = [
            # The next ones, those whose tasks run, and the list of each state.
            models.Index("operation", "state", "id", name="operationitem_state_idx"),
            # The latest ends, for the automatic stop.
            models.Index(
                "operation",
                F("ended_at").desc(),
                name="operationitem_ended_idx",
                condition=Q(ended_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.row_id} of operation {self.operation_id}"
