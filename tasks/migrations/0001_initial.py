import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import tasks.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("holder", models.UUIDField()),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "db_table": "callboard_lease",
            },
        ),
        migrations.CreateModel(
            name="Queue",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                (
                    "paused_at",
                    models.DateTimeField(blank=True, help_text="While set, its tasks are not dispatched.", null=True),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "db_table": "callboard_queue",
                "ordering": ["name"],
                "permissions": [("pause_queue", "Can pause and resume queues")],
            },
        ),
        migrations.CreateModel(
            name="Term",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("term", models.PositiveBigIntegerField()),
            ],
            options={
                "db_table": "callboard_term",
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "owner_id", "key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("owner_id", models.BigIntegerField(help_text="The user's id; 0 for nobody.")),
                ("key", models.CharField(max_length=255)),
                ("request_hash", models.CharField(help_text="SHA-256 of what was submitted.", max_length=64)),
                (
                    "task_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), help_text="In the order of the submission.", size=None
                    ),
                ),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "db_table": "callboard_idempotencykey",
                "indexes": [models.Index(models.F("expires_at"), name="idempotencykey_expires_idx")],
            },
        ),
        migrations.CreateModel(
            name="Task",
            fields=[
                (
                    "id",
                    models.UUIDField(default=tasks.models.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("actor", models.CharField(max_length=255)),
                ("payload", models.JSONField(blank=True, default=dict, help_text="Keyword arguments of the actor.")),
                (
                    "args",
                    models.JSONField(
                        blank=True, default=list, help_text="Positional arguments; only send() gives any."
                    ),
                ),
                (
                    "options",
                    models.JSONField(blank=True, default=dict, help_text="Dramatiq message options given to send()."),
                ),
                ("queue", models.CharField(max_length=100)),
                ("priority", models.PositiveSmallIntegerField(help_text="1–10; 10 runs first.")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("BLOCKED", "Blocked"),
                            ("PENDING", "Pending"),
                            ("QUEUED", "Queued"),
                            ("RUNNING", "Running"),
                            ("RETRYING", "Retrying"),
                            ("SUCCEEDED", "Succeeded"),
                            ("DEAD", "Dead"),
                            ("CANCELLED", "Cancelled"),
                        ],
                        db_default="PENDING",
                        max_length=9,
                    ),
                ),
                (
                    "run_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), help_text="Not started before."
                    ),
                ),
                (
                    "dispatch",
                    models.PositiveIntegerField(
                        db_default=0, help_text="Hand-overs to the broker; an older hint is stale."
                    ),
                ),
                (
                    "attempt",
                    models.PositiveIntegerField(db_default=0, help_text="Claims; fences every write of a worker."),
                ),
                (
                    "failures",
                    models.PositiveIntegerField(db_default=0, help_text="Executions that failed in this life."),
                ),
                (
                    "crashes",
                    models.PositiveIntegerField(db_default=0, help_text="Workers that died under it in this life."),
                ),
                (
                    "max_retries",
                    models.PositiveIntegerField(blank=True, help_text="Empty: retries for ever.", null=True),
                ),
                ("min_backoff_seconds", models.FloatField()),
                ("max_backoff_seconds", models.FloatField()),
                (
                    "retry_for_seconds",
                    models.FloatField(blank=True, help_text="Give up this long after the first failure.", null=True),
                ),
                ("retry_until", models.DateTimeField(blank=True, null=True)),
                ("time_limit_seconds", models.FloatField(help_text="Interrupted after; 0 means never.")),
                (
                    "max_age_seconds",
                    models.FloatField(
                        blank=True, help_text="Dies if not started this long after submission.", null=True
                    ),
                ),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("estimated_seconds", models.FloatField(blank=True, null=True)),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100), blank=True, default=list, size=None
                    ),
                ),
                ("trace_id", models.CharField(db_default="", max_length=32)),
                ("idempotency_key", models.CharField(blank=True, max_length=255, null=True)),
                ("version", models.PositiveIntegerField(db_default=1, help_text="Raised by edits; the ETag.")),
                ("worker_id", models.UUIDField(blank=True, null=True)),
                ("cancel_requested_at", models.DateTimeField(blank=True, null=True)),
                ("result", models.JSONField(blank=True, null=True)),
                ("progress", models.JSONField(blank=True, null=True)),
                ("checkpoint", models.JSONField(blank=True, null=True)),
                (
                    "error",
                    models.TextField(blank=True, db_default="", help_text="Type and message of the last failure."),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("queued_at", models.DateTimeField(blank=True, null=True)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "owner",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "callboard_task",
                "permissions": [("retry_task", "Can run tasks again"), ("cancel_task", "Can cancel tasks")],
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "task_id", "number", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("SUCCEEDED", "Succeeded"),
                            ("FAILED", "Failed"),
                            ("TIMED_OUT", "Timed out"),
                            ("SNOOZED", "Snoozed"),
                            ("INTERRUPTED", "Interrupted"),
                            ("CANCELLED", "Cancelled"),
                            ("CRASHED", "Crashed"),
                            ("LOST", "Lost"),
                        ],
                        max_length=11,
                    ),
                ),
                ("worker_id", models.UUIDField()),
                (
                    "started_at",
                    models.DateTimeField(help_text="When the actor's function began; empty if unknown.", null=True),
                ),
                ("finished_at", models.DateTimeField()),
                ("error_type", models.CharField(blank=True, db_default="", max_length=255)),
                ("error_message", models.TextField(blank=True, db_default="")),
                ("traceback", models.TextField(blank=True, db_default="")),
                (
                    "note",
                    models.TextField(
                        blank=True, db_default="", help_text="What else happened: what was dropped, and why."
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="attempts",
                        to="callboard.task",
                    ),
                ),
            ],
            options={
                "db_table": "callboard_attempt",
                "ordering": ["number"],
            },
        ),
        migrations.CreateModel(
            name="TaskEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("verb", models.CharField(max_length=20)),
                (
                    "by",
                    models.CharField(
                        blank=True, db_default="", help_text="User name; empty for a repair.", max_length=150
                    ),
                ),
                ("detail", models.JSONField(blank=True, default=dict)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="events",
                        to="callboard.task",
                    ),
                ),
            ],
            options={
                "db_table": "callboard_taskevent",
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                (
                    "id",
                    models.UUIDField(default=tasks.models.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("host", models.CharField(max_length=255)),
                ("pid", models.PositiveIntegerField()),
                (
                    "queues",
                    django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), size=None),
                ),
                (
                    "actors",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=255),
                        help_text="What it can run; others are not dispatched.",
                        size=None,
                    ),
                ),
                ("threads", models.PositiveSmallIntegerField()),
                (
                    "status",
                    models.CharField(
                        choices=[("ALIVE", "Alive"), ("DRAINING", "Draining"), ("GONE", "Gone")],
                        db_default="ALIVE",
                        max_length=8,
                    ),
                ),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("heartbeat_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("lease_expires_at", models.DateTimeField()),
                ("stopped_at", models.DateTimeField(blank=True, null=True)),
                (
                    "crash",
                    models.JSONField(blank=True, help_text="What the supervisor saw when the process died.", null=True),
                ),
                (
                    "unwritten",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=60),
                        db_default=[],
                        help_text="Runs that ended; their outcomes wait for a lock.",
                        size=None,
                    ),
                ),
                (
                    "isolating_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="Since when it takes only quarantined tasks.",
                        null=True,
                    ),
                ),
            ],
            options={
                "db_table": "callboard_worker",
                "permissions": [("drain_worker", "Can drain workers")],
                "indexes": [
                    models.Index(
                        models.F("lease_expires_at"),
                        condition=models.Q(("status", "GONE"), _negated=True),
                        name="worker_present_idx",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["ALIVE", "DRAINING", "GONE"])), name="worker_status_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status", "GONE"), ("stopped_at__isnull", False)),
                            models.Q(models.Q(("status", "GONE"), _negated=True), ("stopped_at__isnull", True)),
                            _connector="OR",
                        ),
                        name="worker_stopped_at_iff_gone",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ApiToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("read", "Read"),
                                ("submit", "Submit"),
                                ("operate", "Operate: change, cancel, retry, remove, re-drive, pause"),
                            ],
                            max_length=7,
                        ),
                        default=tasks.models.all_scopes,
                        size=None,
                    ),
                ),
                (
                    "actors",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=255),
                        blank=True,
                        default=list,
                        help_text="Empty: all.",
                        size=None,
                    ),
                ),
                (
                    "queues",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100),
                        blank=True,
                        default=list,
                        help_text="Empty: all.",
                        size=None,
                    ),
                ),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("last_used_at", models.DateTimeField(blank=True, null=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="api_tokens",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "API token",
                "db_table": "callboard_apitoken",
                "permissions": [("revoke_apitoken", "Can revoke API tokens")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("scopes__contained_by", ["read", "submit", "operate"]), ("scopes__len__gt", 0)
                        ),
                        name="apitoken_scopes_known",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("queue"),
                models.OrderBy(models.F("priority"), descending=True),
                models.F("run_at"),
                models.F("id"),
                condition=models.Q(("status__in", ["PENDING", "RETRYING"])),
                name="task_due_idx",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(models.F("queued_at"), condition=models.Q(("status", "QUEUED")), name="task_queued_idx"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("worker_id"), condition=models.Q(("status", "RUNNING")), name="task_running_idx"
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("expires_at"),
                condition=models.Q(
                    ("expires_at__isnull", False), ("status__in", ["BLOCKED", "PENDING", "QUEUED", "RETRYING"])
                ),
                name="task_expiring_idx",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("owner"),
                models.OrderBy(models.F("id"), descending=True),
                condition=models.Q(("owner__isnull", False)),
                name="task_owner_idx",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("status"),
                models.OrderBy(models.F("id"), descending=True),
                condition=models.Q(("status__in", ["CANCELLED", "DEAD"])),
                name="task_unsuccessful_idx",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        ["BLOCKED", "PENDING", "QUEUED", "RUNNING", "RETRYING", "SUCCEEDED", "DEAD", "CANCELLED"],
                    )
                ),
                name="task_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(("priority__gte", 1), ("priority__lte", 10)), name="task_priority_in_range"
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "RUNNING"), ("worker_id__isnull", False)),
                    models.Q(models.Q(("status", "RUNNING"), _negated=True), ("worker_id__isnull", True)),
                    _connector="OR",
                ),
                name="task_worker_iff_running",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("finished_at__isnull", False), ("status__in", ["CANCELLED", "DEAD", "SUCCEEDED"])),
                    models.Q(
                        models.Q(("status__in", ["CANCELLED", "DEAD", "SUCCEEDED"]), _negated=True),
                        ("finished_at__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="task_finished_at_iff_final",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "RUNNING"), _negated=True),
                    models.Q(("attempt__gt", 0), ("dispatch__gt", 0), ("started_at__isnull", False)),
                    _connector="OR",
                ),
                name="task_running_was_dispatched",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(("crashes__lte", models.F("attempt")), ("failures__lte", models.F("attempt"))),
                name="task_failures_within_attempts",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(("cancel_requested_at__isnull", True), ("status", "RUNNING"), _connector="OR"),
                name="task_cancel_request_only_while_running",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("max_backoff_seconds__gte", 0), ("min_backoff_seconds__gte", 0), ("time_limit_seconds__gte", 0)
                ),
                name="task_limits_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "outcome__in",
                        ["SUCCEEDED", "FAILED", "TIMED_OUT", "SNOOZED", "INTERRUPTED", "CANCELLED", "CRASHED", "LOST"],
                    )
                ),
                name="attempt_outcome_known",
            ),
        ),
    ]
