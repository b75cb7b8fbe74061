"""The dead letter, a row for each death of a task, and the failure, a row for each cause of deaths."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Self
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce, JSONObject, Now

from tasks.conf import LONGEST_BUILD
from tasks.models import ListedQuerySet, Task, new_id
from tasks.states import DeathReason, Resolution, Status
from tasks.submission import OwnerId

#: Of a failure, in characters.
LONGEST_NOTE = 2_000


class DeadLetterQuerySet(ListedQuerySet["DeadLetter"]):
    """Dead letters by their resolution, their fields, and who may see them."""

    def open(self) -> Self:
        """Neither re-driven nor discarded."""
        return self.led_by(Q(resolution=Resolution.OPEN))

    def owned_by(self, owner_id: OwnerId | None) -> Self:
        """Owned by this user; nobody's rows are never in it."""
        return self.none() if owner_id is None else self.led_by(Q(owner_id=owner_id))

    def resolved_as(self, resolution: Resolution) -> Self:
        """With this resolution."""
        return self.open() if resolution == Resolution.OPEN else self.filter(resolution=resolution)

    def died_of(self, reason: DeathReason) -> Self:
        """Of tasks that died for this reason."""
        return self.filter(reason=reason)

    def for_actor(self, name: str) -> Self:
        """Of tasks that this actor ran."""
        return self.filter(actor=name)

    def in_queue(self, name: str) -> Self:
        """Of tasks of this queue."""
        return self.filter(queue=name)

    def of_task(self, task_id: UUID) -> Self:
        """Of one task, which has one dead letter for each death."""
        return self.served_by("task", Q(task_id=task_id)).filter(task_id=task_id)

    def of_cause(self, fingerprint: str) -> Self:
        """Of one actor with the same error, apart from numbers and ids in it."""
        return self.filter(fingerprint=fingerprint)

    def open_of_cause(self, fingerprint: str) -> Self:
        """Open ones of one cause, which have an index of their own."""
        return self.led_by(Q(fingerprint=fingerprint, resolution=Resolution.OPEN))

    def restorable(self) -> Self:
        """Discarded, of tasks that are still dead of this death; the retention time is left to the verb."""
        later = DeadLetter.objects.filter(task_id=OuterRef("task_id"), pk__gt=OuterRef("pk"))
        dead = Task.objects.filter(pk=OuterRef("task_id"), status=Status.DEAD)
        return self.filter(Exists(dead), ~Exists(later), resolution=Resolution.DISCARDED)

    def searched(self, text: str) -> Self:
        """By text in the error's type, the start of the actor's name, or the start of the task's id or of its own."""
        found = Q(actor__startswith=text) | Q(error_type__icontains=text)
        digits = text.replace("-", "").lower()
        if re.fullmatch(r"[0-9a-f]{8,32}", digits):
            first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
            found |= Q(id__range=(first, last)) | Q(task__gte=first, task__lte=last)
        return self.filter(found)

    def saying(self, text: str) -> Self:
        """With this text in the error's message, which may hold secrets."""
        return self.filter(error_message__icontains=text)

    def newest_first(self) -> Self:
        """By id, which is by time of death."""
        return self.order_by("-id")


class DeadLetter(models.Model):
    """Why a task died; it is kept when the task is pruned."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task = models.ForeignKey(
        "callboard.Task", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="dead_letters"
    )
    attempt = models.PositiveIntegerField()
    actor = models.CharField(max_length=255)
    queue = models.CharField(max_length=100)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    reason = models.CharField(max_length=20, choices=DeathReason.choices)
    error_type = models.CharField(max_length=255, db_default="", blank=True)
    error_message = models.TextField(db_default="", blank=True)
    fingerprint = models.CharField(max_length=32, db_default="", help_text="Same for deaths of the same cause.")
    died_at = models.DateTimeField(db_default=Now())
    resolution = models.CharField(max_length=9, choices=Resolution.choices, db_default=Resolution.OPEN, blank=True)
    resolved_by = models.CharField(max_length=150, db_default="", blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)

    objects = DeadLetterQuerySet.as_manager()

    class Meta:
        db_table = "callboard_deadletter"
        permissions = [
            ("redrive_deadletter", "Can re-drive dead letters"),
            ("discard_deadletter", "Can discard dead letters"),
        ]
        constraints = [
            models.CheckConstraint(name="deadletter_reason_known", condition=Q(reason__in=DeathReason.values)),
            models.CheckConstraint(
                name="deadletter_resolved_at_iff_resolved",
                condition=Q(resolution=Resolution.OPEN, resolved_at__isnull=True)
                | (~Q(resolution=Resolution.OPEN) & Q(resolved_at__isnull=False)),
            ),
            models.UniqueConstraint(
                fields=["task"], name="deadletter_one_open_per_task", condition=Q(resolution=Resolution.OPEN)
            ),
        ]
        indexes = [
            models.Index("task", name="deadletter_task_idx"),
            models.Index(F("id").desc(), name="deadletter_open_idx", condition=Q(resolution=Resolution.OPEN)),
            models.Index("owner", F("id").desc(), name="deadletter_owner_idx", condition=Q(owner__isnull=False)),
            # The open dead letters of one failure.
            models.Index(
                "fingerprint", F("id").desc(), name="deadletter_cause_idx", condition=Q(resolution=Resolution.OPEN)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.reason}"

    @property
    def is_open(self) -> bool:
        """Whether it was neither re-driven nor discarded."""
        return self.resolution == Resolution.OPEN


class FailureQuerySet(models.QuerySet["Failure"]):
    """Failures by what they are and whether somebody has to act."""

    def with_news(self) -> Self:
        """Add ``news``: what ``open`` and ``total`` change by when the leader adds what was written since."""
        sums = FailureDelta.objects.filter(fingerprint=OuterRef("pk")).order_by().values("fingerprint")
        news = JSONObject(open=Coalesce(Sum("opened"), 0), total=Coalesce(Sum("died"), 0))
        return self.annotate(news=Subquery(sums.annotate(news=news).values("news")))

    def open(self) -> Self:
        """With open dead letters."""
        return self.filter(open__gt=0)

    def snoozed(self, *, now: datetime) -> Self:
        """Put aside until later than ``now``, or until a new build."""
        return self.filter(Q(snoozed_until__gt=now) | Q(snoozed_builds__isnull=False))

    def awake(self, *, now: datetime) -> Self:
        """Not snoozed."""
        return self.filter(snoozed_builds=None).exclude(snoozed_until__gt=now)

    def for_actor(self, name: str) -> Self:
        """Of tasks that this actor ran."""
        return self.filter(actor=name)

    def of_type(self, name: str) -> Self:
        """Of this error type."""
        return self.filter(error_type=name)

    def assigned_to(self, name: str) -> Self:
        """That this user looks after."""
        return self.filter(assignee=name)


class Failure(models.Model):
    """What all deaths with one fingerprint have in common; it outlives them.

    ``tasks.lifecycle.failures`` counts: a statement leaves a delta, and the leader adds deltas up.
    """

    fingerprint = models.CharField(max_length=32, primary_key=True)
    actor = models.CharField(max_length=255, db_default="")
    error_type = models.CharField(max_length=255, db_default="", blank=True)
    #: The start of the newest death's message, and its task: the secrets of that task are masked in the message.
    error_message = models.TextField(db_default="", blank=True)
    task = models.ForeignKey(
        "callboard.Task", null=True, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    frame = models.CharField(
        max_length=300, db_default="", blank=True, help_text="The innermost frame of the user's own code."
    )
    first_seen_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    open = models.IntegerField(db_default=0, default=0)
    total = models.IntegerField(db_default=0, default=0, help_text="Deaths since it was first seen.")
    assignee = models.CharField(max_length=150, db_default="", default="", blank=True)
    note = models.TextField(max_length=LONGEST_NOTE, db_default="", default="", blank=True)
    first_build = models.CharField(
        max_length=LONGEST_BUILD, db_default="", default="", blank=True, help_text="Empty: unknown."
    )
    last_build = models.CharField(max_length=LONGEST_BUILD, db_default="", default="", blank=True)
    snoozed_until = models.DateTimeField(null=True, blank=True)
    snoozed_builds = ArrayField(
        models.CharField(max_length=LONGEST_BUILD), null=True, blank=True,
        help_text="A death in another build ends the snooze.",
    )  # fmt: skip

    objects = FailureQuerySet.as_manager()

    class Meta:
        db_table = "callboard_failure"
        default_permissions = ("view", "change")
        indexes = [
            # The list of failures; those without open dead letters are many after a while.
            models.Index(F("last_seen_at").desc(), name="failure_open_idx", condition=Q(open__gt=0)),
            models.Index(F("last_seen_at").desc(), name="failure_seen_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.error_type or self.error_message[:50]}"

    def is_snoozed(self, *, now: datetime) -> bool:
        """Whether it is put aside, until later than ``now`` or until a new build."""
        return self.snoozed_builds is not None or (self.snoozed_until is not None and self.snoozed_until > now)

    def count(self, name: str) -> int:
        """Read ``open`` or ``total`` with what ``with_news`` found."""
        news = getattr(self, "news", None) or {}
        return int(getattr(self, name)) + int(news.get(name, 0))


class FailureDelta(models.Model):
    """What one statement did to the dead letters of one cause, until the leader adds it up."""

    id = models.BigAutoField(primary_key=True)
    fingerprint = models.CharField(max_length=32)
    at = models.DateTimeField(db_default=Now())
    opened = models.IntegerField(db_default=0)
    died = models.IntegerField(db_default=0)
    actor = models.CharField(max_length=255, db_default="")
    error_type = models.CharField(max_length=255, db_default="")
    error_message = models.TextField(db_default="")
    frame = models.CharField(max_length=300, db_default="")
    task_id = models.UUIDField(null=True)
    build = models.CharField(max_length=LONGEST_BUILD, db_default="")

    class Meta:
        db_table = "callboard_failuredelta"
        default_permissions = ()
        indexes = [models.Index("fingerprint", name="failuredelta_cause_idx")]

    def __str__(self) -> str:
        return f"of {self.fingerprint}"
