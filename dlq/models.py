"""The dead letter: one row for each death of a task; only its resolution ever changes."""

from __future__ import annotations

import re
from typing import Self
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from tasks.models import ListedQuerySet, new_id
from tasks.states import DeathReason, Resolution
from tasks.submission import OwnerId


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
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.reason}"

    @property
    def is_open(self) -> bool:
        """Whether it was neither re-driven nor discarded."""
        return self.resolution == Resolution.OPEN
