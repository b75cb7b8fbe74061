"""Questions about dead letters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self
from uuid import UUID

from django.db import models
from django.db.models import Q

from tasks.states import DeathReason, Resolution

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from dlq.models import DeadLetter  # noqa: F401


class DeadLetterQuerySet(models.QuerySet["DeadLetter"]):
    """Dead letters by what was done about them and who may see them."""

    def open(self) -> Self:
        """Neither re-driven nor discarded."""
        return self.filter(resolution=Resolution.OPEN)

    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> Self:
        """What a user may see: staff everything, others their own."""
        if getattr(user, "is_staff", False):
            return self
        return self.filter(owner_id=user.pk) if user.pk is not None else self.none()

    def resolved_as(self, resolution: Resolution) -> Self:
        """Dealt with in this way, or open."""
        return self.filter(resolution=resolution)

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
        """Of one task, which has one for each of its deaths."""
        return self.filter(task_id=task_id)

    def of_cause(self, fingerprint: str) -> Self:
        """Of the same actor with the same error, numbers and ids in it aside."""
        return self.filter(fingerprint=fingerprint)

    def searched(self, text: str) -> Self:
        """By words of the error, the actor's first letters, or an id or its first digits, the task's or its own."""
        found = Q(actor__startswith=text) | Q(error_type__icontains=text) | Q(error_message__icontains=text)
        digits = text.replace("-", "").lower()
        if re.fullmatch(r"[0-9a-f]{8,32}", digits):
            first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
            found |= Q(id__range=(first, last)) | Q(task__gte=first, task__lte=last)
        return self.filter(found)

    def newest_first(self) -> Self:
        """By id, which is by time of death."""
        return self.order_by("-id")
