"""The dead letter: one row per death, never changed except for its resolution."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from dlq import querysets
from tasks.models import new_id
from tasks.states import DeathReason, Resolution


class DeadLetter(models.Model):
    """Why a task died, kept when the task itself is pruned."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task = models.ForeignKey(
        "tasks.Task", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="dead_letters"
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

    objects = querysets.DeadLetterQuerySet.as_manager()

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
        """Whether nobody has re-driven or discarded it."""
        return self.resolution == Resolution.OPEN
