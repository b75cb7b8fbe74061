import django.db.models.deletion
import django.db.models.functions.datetime
import tasks.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("callboard", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                (
                    "id",
                    models.UUIDField(default=tasks.models.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("attempt", models.PositiveIntegerField()),
                ("actor", models.CharField(max_length=255)),
                ("queue", models.CharField(max_length=100)),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("max_retries_exceeded", "Retries exhausted"),
                            ("not_retryable", "Not retryable"),
                            ("age_limit_exceeded", "Too old to start"),
                            ("time_limit_exceeded", "Ran past its time limit"),
                            ("stuck_task_timeout", "Stuck past its time limit"),
                            ("crash_loop", "Its workers keep crashing"),
                            ("gave_up", "Retry window over"),
                        ],
                        max_length=20,
                    ),
                ),
                ("error_type", models.CharField(blank=True, db_default="", max_length=255)),
                ("error_message", models.TextField(blank=True, db_default="")),
                (
                    "fingerprint",
                    models.CharField(db_default="", help_text="Same for deaths of the same cause.", max_length=32),
                ),
                ("died_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "resolution",
                    models.CharField(
                        blank=True,
                        choices=[("", "Open"), ("REDRIVEN", "Re-driven"), ("DISCARDED", "Discarded")],
                        db_default="",
                        max_length=9,
                    ),
                ),
                ("resolved_by", models.CharField(blank=True, db_default="", max_length=150)),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
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
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="dead_letters",
                        to="callboard.task",
                    ),
                ),
            ],
            options={
                "db_table": "callboard_deadletter",
                "permissions": [
                    ("redrive_deadletter", "Can re-drive dead letters"),
                    ("discard_deadletter", "Can discard dead letters"),
                ],
                "indexes": [
                    models.Index(models.F("task"), name="deadletter_task_idx"),
                    models.Index(
                        models.OrderBy(models.F("id"), descending=True),
                        condition=models.Q(("resolution", "")),
                        name="deadletter_open_idx",
                    ),
                    models.Index(
                        models.F("owner"),
                        models.OrderBy(models.F("id"), descending=True),
                        condition=models.Q(("owner__isnull", False)),
                        name="deadletter_owner_idx",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "reason__in",
                                [
                                    "max_retries_exceeded",
                                    "not_retryable",
                                    "age_limit_exceeded",
                                    "time_limit_exceeded",
                                    "stuck_task_timeout",
                                    "crash_loop",
                                    "gave_up",
                                ],
                            )
                        ),
                        name="deadletter_reason_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("resolution", ""), ("resolved_at__isnull", True)),
                            models.Q(models.Q(("resolution", ""), _negated=True), ("resolved_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="deadletter_resolved_at_iff_resolved",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("resolution", "")), fields=("task",), name="deadletter_one_open_per_task"
                    ),
                ],
            },
        ),
    ]
