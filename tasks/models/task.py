"""The task: one row for each thing to run.

Only ``tasks.lifecycle`` writes ``Task.status``. The CHECK constraints repeat its rules, so that a bug there causes an
error instead of a broken row. Each index serves one query and is partial where it can be. Partial indexes have the
status in their conditions, so no status change is a HOT update, and each index that a new row version matches costs an
insertion (``tests/lifecycle/test_index_budget.py`` counts them).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import reduce
from operator import and_, or_
from typing import Self
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from tasks import registry
from tasks.fairness import NO_KEY
from tasks.models.ids import CLOCKS_AGREE, first_id_at, new_id
from tasks.models.listing import ListedQuerySet
from tasks.models.payload_path import PayloadValue, has_value
from tasks.models.search_keys import SearchKeys, has_any_key, has_keys, key
from tasks.models.settlement import is_unsettled
from tasks.models.unique_index import UniqueIndex
from tasks.priority import HIGHEST, LOWEST, Band, band_of
from tasks.states import DUE, FINAL, RETRYABLE, WAITING, Obstacle, Status, StepKind
from tasks.submission import OwnerId

#: A task that is due by the database's clock is not called early because this process's clock is that much behind.
_CLOCKS_DIFFER = timedelta(seconds=1)

#: With the broker or a worker: few tasks, and for moments. Indexes of lists and searches leave them out, which saves
#: each task two insertions in each; ``task_queued_idx`` and ``task_running_idx`` find them.
_IN_HAND = (Status.QUEUED, Status.RUNNING)
_AT_REST = tuple(sorted(set(Status) - set(_IN_HAND)))
_IS_AT_REST = Q(status__in=_AT_REST)
#: True of every task. It is written so that PostgreSQL sees which partial indexes together have them all.
_IN_ANY_STATUS = _IS_AT_REST | Q(status=Status.QUEUED) | Q(status=Status.RUNNING)
#: The statuses that ``task_by_status_idx`` lists in the order of ids.
_LISTED_BY_STATUS = (Status.BLOCKED, Status.CANCELLED, Status.DEAD, Status.RETRYING)


class TaskQuerySet(ListedQuerySet["Task"]):
    """Tasks by their status, their fields, and who may see them."""

    def due(self) -> Self:
        """Waiting to be dispatched, and their ``run_at`` has come."""
        return self.filter(status__in=DUE, run_at__lte=Now())

    def early(self) -> Self:
        """Pending, and their ``run_at`` has not come."""
        return self._served_by_status(Status.PENDING).filter(status=Status.PENDING, run_at__gt=Now())

    def waiting_to_run(self) -> Self:
        """Waiting to be dispatched, whether due or not."""
        return self.filter(status__in=DUE)

    def running(self) -> Self:
        """Claimed by a worker."""
        return self.filter(status=Status.RUNNING)

    def held_by(self, worker_id: UUID) -> Self:
        """Running in this worker."""
        return self.running().filter(worker_id=worker_id)

    def cancellable(self) -> Self:
        """Not ended, and not yet asked to end."""
        return self._served_by_status(*WAITING, Status.RUNNING).filter(
            Q(status__in=WAITING) | Q(status=Status.RUNNING, cancel_requested_at=None)
        )

    def retryable(self) -> Self:
        """Dead, waiting for a retry, or cancelled."""
        return self.in_status(RETRYABLE)

    def retryable_with_workflow(self) -> Self:
        """Dead, or cancelled, but not by a parent's end: the second life of that parent brings them back."""
        return self.retryable().filter(cause_id=None).exclude(status=Status.RETRYING)

    def cancelled_by_parents(self) -> Self:
        """Cancelled by the end of another task: a second life of that brings them back."""
        causes = self.model.objects.filter(pk=OuterRef("cause_id"))
        return self.filter(Exists(causes), status=Status.CANCELLED)

    def waiting_for_signal(self) -> Self:
        """Suspended until a signal comes."""
        return self._served_by_status(Status.PENDING).filter(self._lacks_signal())

    def waiting_for(self, obstacle: Obstacle) -> Self:
        """Waiting for one of ``LISTED_OBSTACLES``."""
        if obstacle == Obstacle.PARENTS:
            return self.in_status([Status.BLOCKED])
        if obstacle == Obstacle.SIGNAL_MISSING:
            return self.waiting_for_signal()
        rows = self.in_status(sorted(DUE))
        if obstacle == Obstacle.QUEUE_PAUSED:
            paused = apps.get_model("callboard", "Queue").objects.filter(paused_at__isnull=False)
            return rows.filter(queue__in=paused.values("pk"))
        return rows.filter(~self._lacks_signal(), run_at__gt=Now())

    @staticmethod
    def _lacks_signal() -> Q:
        steps = apps.get_model("callboard", "Step").objects
        come = steps.filter(task_id=OuterRef("task_id"), kind=StepKind.SIGNAL, name=OuterRef("name"))
        waits = steps.filter(~Exists(come), task_id=OuterRef("pk"), kind=StepKind.WAIT)
        return Q(Exists(waits), status=Status.PENDING, attempt__gt=0)

    def final(self) -> Self:
        """Ended."""
        return self.filter(status__in=FINAL)

    def owned_by(self, owner_id: OwnerId | None) -> Self:
        """Owned by this user; nobody's rows are never in it."""
        if owner_id is None:
            return self.none()
        owned = Q(owner_id=owner_id)
        return self.led_by(owned & _IN_ANY_STATUS, path=owned & _IS_AT_REST)

    def newest_first(self) -> Self:
        """By id, which is by time of submission."""
        return self.order_by("-id")

    def in_status(self, statuses: Sequence[Status]) -> Self:
        """With one of these statuses."""
        if Status.SUCCEEDED in statuses:
            # No index has these: they are most of the table.
            return self.filter(status__in=statuses)
        if len(set(statuses)) == 1 and statuses[0] in _LISTED_BY_STATUS:
            return self.led_by(Q(status=statuses[0]))
        return self._served_by_status(*statuses).filter(status__in=statuses)

    def _served_by_status(self, *statuses: Status) -> Self:
        # One condition for each, because each leads to another partial index.
        return self.served_by("status", reduce(or_, (Q(status=status) for status in sorted(set(statuses)))))

    def for_actor(self, name: str) -> Self:
        """Run by this actor."""
        return self._served_by_keys(key("actor", name)).filter(actor=name)

    def in_queue(self, name: str) -> Self:
        """In any band of this queue."""
        return self._served_by_keys(key("queue", name)).filter(queue=name)

    def in_band(self, band: Band) -> Self:
        """With a priority of this band."""
        return self.filter(priority__range=(band.lowest, band.highest))

    def with_priority(self, priority: int) -> Self:
        """Of this priority."""
        return self.filter(priority=priority)

    def tagged(self, tag: str) -> Self:
        """With this tag."""
        return self._served_by_keys(tag).filter(tags__contains=[tag])

    def of_schedule(self, schedule_id: UUID) -> Self:
        """Made by this schedule."""
        return self.served_by("schedule", Q(schedule_id=schedule_id)).filter(schedule_id=schedule_id)

    def of_batch(self, batch_id: UUID) -> Self:
        """Counted by this batch."""
        return self.led_by(Q(batch_id=batch_id))

    def _served_by_keys(self, *keys: str) -> Self:
        return self.served_by("keys", has_keys(keys) & _IN_ANY_STATUS)

    def created_after(self, moment: datetime) -> Self:
        """Submitted after this time."""
        return self.within(Q(id__gte=first_id_at(moment - CLOCKS_AGREE))).filter(created_at__gt=moment)

    def created_before(self, moment: datetime) -> Self:
        """Submitted before this time."""
        return self.within(Q(id__lte=first_id_at(moment + CLOCKS_AGREE))).filter(created_at__lt=moment)

    def with_payload(self, wanted: Sequence[PayloadValue]) -> Self:
        """With all of these values in the payload."""
        return self.slow_to_match().filter(reduce(and_, map(has_value, wanted)))

    def with_error_type(self, name: str) -> Self:
        """Whose last error is of this type."""
        return self.slow_to_match().filter(error__startswith=f"{name}: ")

    def running_after(self, moment: datetime) -> Self:
        """With a ``run_at`` after this time."""
        return self.filter(run_at__gt=moment)

    def running_before(self, moment: datetime) -> Self:
        """With a ``run_at`` before this time."""
        return self.filter(run_at__lt=moment)

    def searched(self, text: str) -> Self:
        """By the start of the id, a trace id, a tag, an actor's name, or the start of a declared actor's name."""
        digits = text.replace("-", "").lower()
        actors = {text, *(name for name in registry.actor_names() if name.startswith(text))}
        found = Q(actor__in=actors) | Q(tags__contains=[text])
        keys, ids = [text, *(key("actor", name) for name in sorted(actors))], Q(pk__in=[])
        if re.fullmatch(r"[0-9a-f]{32}", digits):
            found |= Q(trace_id=digits)
            keys.append(key("trace_id", digits))
        if re.fullmatch(r"[0-9a-f]{4,32}", digits):
            ids = Q(id__range=(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))))
        return self.served_by("search", ids | (has_any_key(keys) & _IN_ANY_STATUS)).filter(found | ids)

    def counted_by_status(self) -> dict[str, int]:
        """Count tasks by status; it reads the whole table, so no request may call it."""
        rows = self.order_by().values_list("status").annotate(n=models.Count("*"))
        return dict(rows)


class Task(models.Model):
    """One thing to run once, however many attempts it takes."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    actor = models.CharField(max_length=255)
    payload = models.JSONField(default=dict, blank=True, help_text="Keyword arguments of the actor.")
    args = models.JSONField(default=list, blank=True, help_text="Positional arguments; only send() gives any.")
    options = models.JSONField(default=dict, blank=True, help_text="Dramatiq message options given to send().")
    queue = models.CharField(max_length=100)
    priority = models.PositiveSmallIntegerField(help_text="1–10; 10 runs first.")
    status = models.CharField(max_length=9, choices=Status.choices, db_default=Status.PENDING)
    run_at = models.DateTimeField(db_default=Now(), help_text="Not started before.")

    dispatch = models.PositiveIntegerField(db_default=0, help_text="Hand-overs to the broker; an older hint is stale.")
    attempt = models.PositiveIntegerField(db_default=0, help_text="Claims; fences every write of a worker.")
    failures = models.PositiveIntegerField(db_default=0, help_text="Executions that failed in this life.")
    crashes = models.PositiveIntegerField(db_default=0, help_text="Workers that died under it in this life.")

    max_retries = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: retries for ever.")
    min_backoff_seconds = models.FloatField()
    max_backoff_seconds = models.FloatField()
    retry_for_seconds = models.FloatField(null=True, blank=True, help_text="Give up this long after the first failure.")
    retry_until = models.DateTimeField(null=True, blank=True)
    time_limit_seconds = models.FloatField(help_text="Interrupted after; 0 means never.")
    max_age_seconds = models.FloatField(
        null=True, blank=True, help_text="Dies if not started this long after submission."
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    estimated_seconds = models.FloatField(null=True, blank=True)

    fairness_key = models.CharField(
        max_length=100, null=True, blank=True, help_text="Tasks of one priority with different keys take turns."
    )
    lane = models.PositiveSmallIntegerField(
        db_default=NO_KEY, editable=False, help_text="Of its fairness key; lanes are dispatched in turn."
    )

    tags = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    trace_id = models.CharField(max_length=32, db_default="")
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    unique_key = models.UUIDField(
        null=True, blank=True, editable=False, help_text="Digest of the unique key while the task has it."
    )
    unique_rule = models.JSONField(null=True, blank=True, editable=False, help_text="The unique key as submitted.")
    message_id = models.CharField(
        max_length=255, null=True, blank=True, help_text="The id of the Dramatiq message, if it is not the task's."
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    version = models.PositiveIntegerField(db_default=1, help_text="Raised by edits; the ETag.")

    pending_parents = models.PositiveIntegerField(
        null=True, blank=True, help_text="Tasks that it still depends on. Empty: it never depended on one."
    )
    cause_id = models.UUIDField(null=True, blank=True, help_text="The task or batch whose end cancelled this one.")
    settled_as = models.CharField(
        max_length=9,
        null=True,
        blank=True,
        help_text="As what its children know it: WAITING, a final status, or CHECK. Empty: it has no children.",
    )

    worker_id = models.UUIDField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    result = models.JSONField(null=True, blank=True)
    progress = models.JSONField(null=True, blank=True)
    checkpoint = models.JSONField(null=True, blank=True)
    checkpointed_at = models.DateTimeField(null=True, blank=True)
    log = models.JSONField(null=True, blank=True, help_text="Lines of the running attempt.")
    error = models.TextField(db_default="", blank=True, help_text="Type and message of the last failure.")

    created_at = models.DateTimeField(db_default=Now())
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    # Only of tasks that a schedule made; no other verb names these columns.
    schedule_id = models.UUIDField(null=True, blank=True)
    scheduled_at = models.DateTimeField(null=True, blank=True, help_text="The fire that made it.")
    batch_id = models.UUIDField(null=True, blank=True, help_text="The batch that counts it.")

    objects = TaskQuerySet.as_manager()

    #: What its submission did, on the instance that ``submit`` returns: created, existing or replaced.
    submitted_as = ""

    class Meta:
        db_table = "callboard_task"
        permissions = [
            ("retry_task", "Can run tasks again"),
            ("cancel_task", "Can cancel tasks"),
            ("view_payload", "Can see payloads, results and errors"),
        ]
        constraints = [
            models.CheckConstraint(name="task_status_known", condition=Q(status__in=Status.values)),
            models.CheckConstraint(
                name="task_priority_in_range", condition=Q(priority__gte=LOWEST, priority__lte=HIGHEST)
            ),
            models.CheckConstraint(
                name="task_worker_iff_running",
                condition=Q(status=Status.RUNNING, worker_id__isnull=False)
                | (~Q(status=Status.RUNNING) & Q(worker_id__isnull=True)),
            ),
            models.CheckConstraint(
                name="task_finished_at_iff_final",
                condition=Q(status__in=sorted(FINAL), finished_at__isnull=False)
                | (~Q(status__in=sorted(FINAL)) & Q(finished_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="task_running_was_dispatched",
                condition=~Q(status=Status.RUNNING) | Q(dispatch__gt=0, attempt__gt=0, started_at__isnull=False),
            ),
            models.CheckConstraint(
                name="task_failures_within_attempts", condition=Q(failures__lte=F("attempt"), crashes__lte=F("attempt"))
            ),
            models.CheckConstraint(
                name="task_cancel_request_only_while_running",
                condition=Q(cancel_requested_at__isnull=True) | Q(status=Status.RUNNING),
            ),
            models.CheckConstraint(
                name="task_limits_not_negative",
                condition=Q(min_backoff_seconds__gte=0, max_backoff_seconds__gte=0, time_limit_seconds__gte=0),
            ),
            # Tasks without a key are not in it.
            models.UniqueConstraint(
                fields=["unique_key"], name="task_unique_key", condition=Q(unique_key__isnull=False)
            ),
        ]
        indexes = [
            # The dispatcher's probe: one walk per queue, priority and lane, in order of run_at.
            models.Index(
                "queue",
                F("priority").desc(),
                "lane",
                "run_at",
                "id",
                name="task_lane_idx",
                condition=Q(status__in=sorted(DUE)),
            ),
            # The sweeper: tasks whose hints were lost.
            models.Index("queued_at", name="task_queued_idx", condition=Q(status=Status.QUEUED)),
            # The sweeper and heartbeats: tasks that a worker holds.
            models.Index("worker_id", name="task_running_idx", condition=Q(status=Status.RUNNING)),
            # The sweeper: tasks that are too old to start.
            models.Index(
                "expires_at",
                name="task_expiring_idx",
                condition=Q(expires_at__isnull=False, status__in=sorted({*DUE, Status.QUEUED, Status.BLOCKED})),
            ),
            # The leader: parents that have ended, or begun a second life, and whose children do not know yet.
            models.Index("id", name="task_unsettled_idx", condition=is_unsettled(FINAL)),
            # The result of a message whose id is not its task's.
            models.Index("message_id", name="task_message_idx", condition=Q(message_id__isnull=False)),
            # Lists of one owner's tasks.
            models.Index(
                "owner", F("id").desc(), name="task_owned_idx", condition=Q(owner__isnull=False) & _IS_AT_REST
            ),
            # Lists of the tasks that may need an operator.
            models.Index(
                "status", F("id").desc(), name="task_by_status_idx", condition=Q(status__in=_LISTED_BY_STATUS)
            ),
            # One task for each fire of a schedule, and the history of a schedule.
            UniqueIndex("schedule_id", "scheduled_at", name="task_fire_idx", condition=Q(schedule_id__isnull=False)),
            # The tasks of a batch.
            models.Index("batch_id", "id", name="task_batch_idx", condition=Q(batch_id__isnull=False)),
            # Look-ups by tag, actor, queue and trace id. Insertions are collected, and written by the one that fills
            # this many kilobytes or by a vacuum: more would make that one slow, and each look-up reads all of them.
            GinIndex(SearchKeys(), name="task_search_idx", condition=_IS_AT_REST, gin_pending_list_limit=512),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.pk}"

    @property
    def band(self) -> str:
        """The band of its priority: high, medium or low."""
        return band_of(self.priority)

    @property
    def is_early(self) -> bool:
        """Whether it waits for its ``run_at``, as far as this process's clock can tell."""
        return self.status in DUE and self.run_at > timezone.now() + _CLOCKS_DIFFER

    @property
    def is_final(self) -> bool:
        """Whether only an operator's verb can move the task on."""
        return self.status in FINAL
