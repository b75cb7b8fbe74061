"""The tables: tasks and their attempts, queues, workers, the leader's lease, audit events and API tokens.

Only ``tasks.lifecycle`` writes ``Task.status``. The CHECK constraints repeat its rules, so that a bug there is an error
and not a broken row. Indexes serve one query each and are partial where they can be: status is part of every partial
index's predicate, so no status change is a HOT update and each index that a new row version matches costs an insertion
(``tests/lifecycle/test_index_budget.py`` counts them).
"""

import hashlib
import secrets
import uuid
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from uuid_utils.compat import uuid7

from tasks import querysets
from tasks.priority import HIGHEST, LOWEST, band_of
from tasks.states import DUE, FINAL, AttemptOutcome, Scope, Status, WorkerStatus


def new_id() -> uuid.UUID:
    """Make a time-ordered id (UUIDv7), so that lists by id are lists by age."""
    return uuid7()


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

    tags = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    trace_id = models.CharField(max_length=32, db_default="")
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
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

    worker_id = models.UUIDField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    result = models.JSONField(null=True, blank=True)
    progress = models.JSONField(null=True, blank=True)
    checkpoint = models.JSONField(null=True, blank=True)
    error = models.TextField(db_default="", blank=True, help_text="Type and message of the last failure.")

    created_at = models.DateTimeField(db_default=Now())
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = querysets.TaskQuerySet.as_manager()

    class Meta:
        db_table = "callboard_task"
        permissions = [("retry_task", "Can run tasks again"), ("cancel_task", "Can cancel tasks")]
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
        ]
        indexes = [
            # The dispatcher's probe: one walk per queue and priority, in order of run_at.
            models.Index(
                "queue", F("priority").desc(), "run_at", "id", name="task_due_idx", condition=Q(status__in=sorted(DUE))
            ),
            # The sweeper: hints that were lost.
            models.Index("queued_at", name="task_queued_idx", condition=Q(status=Status.QUEUED)),
            # The sweeper and heartbeats: what a worker holds.
            models.Index("worker_id", name="task_running_idx", condition=Q(status=Status.RUNNING)),
            # The sweeper: too old to start.
            models.Index(
                "expires_at",
                name="task_expiring_idx",
                condition=Q(expires_at__isnull=False, status__in=sorted({*DUE, Status.QUEUED, Status.BLOCKED})),
            ),
            # Lists for one owner.
            models.Index("owner", F("id").desc(), name="task_owner_idx", condition=Q(owner__isnull=False)),
            # Lists of what needs a look.
            models.Index(
                "status",
                F("id").desc(),
                name="task_unsuccessful_idx",
                condition=Q(status__in=[Status.CANCELLED, Status.DEAD]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.pk}"

    @property
    def band(self) -> str:
        """The third of its queue that the priority falls in: high, medium or low."""
        return band_of(self.priority)

    @property
    def is_final(self) -> bool:
        """Whether only an operator's verb can move the task on."""
        return self.status in FINAL


class IdempotencyKey(models.Model):
    """What an owner submitted under a key; outlives the tasks, so that sending it again makes no others."""

    pk = models.CompositePrimaryKey("owner_id", "key")
    # No foreign key: 0 stands for nobody (code, CLI), and a key is over within a day.
    owner_id = models.BigIntegerField(help_text="The user's id; 0 for nobody.")
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64, help_text="SHA-256 of what was submitted.")
    task_ids = ArrayField(models.UUIDField(), help_text="In the order of the submission.")
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "callboard_idempotencykey"
        indexes = [
            # The pruner.
            models.Index("expires_at", name="idempotencykey_expires_idx"),
        ]

    def __str__(self) -> str:
        return self.key


class Attempt(models.Model):
    """One execution of a task, written when it ended."""

    pk = models.CompositePrimaryKey("task_id", "number")
    task = models.ForeignKey(
        Task, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="attempts"
    )
    number = models.PositiveIntegerField()
    outcome = models.CharField(max_length=11, choices=AttemptOutcome.choices)
    worker_id = models.UUIDField()
    started_at = models.DateTimeField(null=True, help_text="When the actor's function began; empty if nobody can tell.")
    finished_at = models.DateTimeField()
    error_type = models.CharField(max_length=255, db_default="", blank=True)
    error_message = models.TextField(db_default="", blank=True)
    traceback = models.TextField(db_default="", blank=True)
    note = models.TextField(db_default="", blank=True, help_text="What else happened: what was dropped, and why.")

    class Meta:
        db_table = "callboard_attempt"
        ordering = ["number"]
        constraints = [
            models.CheckConstraint(name="attempt_outcome_known", condition=Q(outcome__in=AttemptOutcome.values))
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.task_id}"


class Queue(models.Model):
    """A queue that some actor declares; each has three bands in the broker."""

    name = models.CharField(primary_key=True, max_length=100)
    paused_at = models.DateTimeField(null=True, blank=True, help_text="While set, nothing of it is dispatched.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "callboard_queue"
        permissions = [("pause_queue", "Can pause and resume queues")]
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Worker(models.Model):
    """One boot of a worker process: a fresh id each time, never reused."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    queues = ArrayField(models.CharField(max_length=100))
    actors = ArrayField(models.CharField(max_length=255), help_text="What it can run; others are not dispatched.")
    threads = models.PositiveSmallIntegerField()
    status = models.CharField(max_length=8, choices=WorkerStatus.choices, db_default=WorkerStatus.ALIVE)
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    lease_expires_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, blank=True)
    crash = models.JSONField(null=True, blank=True, help_text="What the supervisor saw when the process died.")
    unwritten = ArrayField(
        models.CharField(max_length=60), db_default=[], help_text="Runs that ended; their outcomes wait for a lock."
    )
    isolating_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it takes only tasks that are suspected of crashing workers."
    )

    objects = querysets.WorkerQuerySet.as_manager()

    class Meta:
        db_table = "callboard_worker"
        permissions = [("drain_worker", "Can drain workers")]
        constraints = [
            models.CheckConstraint(name="worker_status_known", condition=Q(status__in=WorkerStatus.values)),
            models.CheckConstraint(
                name="worker_stopped_at_iff_gone",
                condition=Q(status=WorkerStatus.GONE, stopped_at__isnull=False)
                | (~Q(status=WorkerStatus.GONE) & Q(stopped_at__isnull=True)),
            ),
        ]
        indexes = [
            models.Index("lease_expires_at", name="worker_present_idx", condition=~Q(status=WorkerStatus.GONE)),
        ]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Lease(models.Model):
    """Who may act under a name, and until when; renewed often, never locked by readers."""

    name = models.CharField(primary_key=True, max_length=100)
    holder = models.UUIDField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "callboard_lease"

    def __str__(self) -> str:
        return self.name


class Term(models.Model):
    """A number that grows with every take-over of a lease.

    It lives in its own row because writers lock it FOR SHARE: a renewal of ``Lease`` must not queue behind them.
    """

    name = models.CharField(primary_key=True, max_length=100)
    term = models.PositiveBigIntegerField()

    class Meta:
        db_table = "callboard_term"

    def __str__(self) -> str:
        return f"{self.name} {self.term}"


class TaskEvent(models.Model):
    """Something that a person or a repair did to a task; the ordinary life is in its attempts."""

    task = models.ForeignKey(Task, on_delete=models.DO_NOTHING, db_constraint=False, related_name="events")
    verb = models.CharField(max_length=20)
    by = models.CharField(max_length=150, db_default="", blank=True, help_text="User name; empty for a repair.")
    detail = models.JSONField(default=dict, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "callboard_taskevent"
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.verb} {self.task_id}"


def all_scopes() -> list[str]:
    """Give every scope there is."""
    return list(Scope.values)


class ApiToken(models.Model):
    """A caller's credentials; only a hash of the secret is kept."""

    #: So that a leaked secret is recognised by scanners and by people.
    PREFIX = "cb_"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    scopes = ArrayField(models.CharField(max_length=7, choices=Scope.choices), default=all_scopes)
    actors = ArrayField(models.CharField(max_length=255), default=list, blank=True, help_text="Empty: all.")
    queues = ArrayField(models.CharField(max_length=100), default=list, blank=True, help_text="Empty: all.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = querysets.ApiTokenQuerySet.as_manager()

    class Meta:
        db_table = "callboard_apitoken"
        verbose_name = "API token"
        permissions = [("revoke_apitoken", "Can revoke API tokens")]
        constraints = [
            models.CheckConstraint(
                name="apitoken_scopes_known", condition=Q(scopes__contained_by=Scope.values, scopes__len__gt=0)
            )
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def issue(cls, **fields: Any) -> tuple["ApiToken", str]:
        """Make a token and return it with its secret, which cannot be read again."""
        secret = cls.PREFIX + secrets.token_urlsafe(32)
        return cls.objects.create(**fields, digest=cls.hash(secret)), secret

    @staticmethod
    def hash(secret: str) -> str:
        """Hash a secret; it has 256 random bits, so a fast hash without salt is enough."""
        return hashlib.sha256(secret.encode()).hexdigest()

    @property
    def is_valid(self) -> bool:
        """Whether it can still be used."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())
