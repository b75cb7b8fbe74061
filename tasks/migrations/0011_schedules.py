"""Add schedules, the columns of the tasks that they make, and what the groups may do to them."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import tasks.models.ids

VIEWS = [("view_schedule", "Can view schedule")]
OPERATION = [
    ("pause_schedule", "Can pause and resume schedules"),
    ("run_schedule", "Can run schedules now and for past times"),
]
ADMINISTRATION = [
    ("add_schedule", "Can add schedule"),
    ("change_schedule", "Can change schedule"),
    ("delete_schedule", "Can delete schedule"),
]
GROUPS = {
    "viewer": VIEWS,
    "operator": [*VIEWS, *OPERATION],
    "admin": [*VIEWS, *OPERATION, *ADMINISTRATION],
}


def extend_groups(apps, _):
    # Only groups that are still there: somebody may have removed one.
    for name, rows in GROUPS.items():
        for group in apps.get_model("auth", "Group").objects.filter(name=name):
            group.permissions.add(*[permission(apps, *row) for row in rows])


def permission(apps, codename, name):
    # Django makes permissions after all migrations, and takes over those that are there.
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="callboard", model="schedule"
    )
    found, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename=codename, defaults={"name": name}
    )
    return found


class Migration(migrations.Migration):
    dependencies = [
        ("callboard", "0010_checkpoints"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Schedule",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=tasks.models.ids.new_id, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True)),
                ("actor", models.CharField(max_length=255)),
                (
                    "payload",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="Keyword arguments. {scheduled_at} and {scheduled_date} stand for the fire.",
                    ),
                ),
                (
                    "options",
                    models.JSONField(
                        blank=True, default=dict, help_text="Further fields of its tasks, as in a submission."
                    ),
                ),
                ("cron", models.CharField(blank=True, db_default="", default="", max_length=200)),
                ("every_seconds", models.FloatField(blank=True, null=True)),
                ("timezone", models.CharField(db_default="UTC", default="UTC", max_length=64)),
                ("starts_at", models.DateTimeField(blank=True, null=True)),
                ("ends_at", models.DateTimeField(blank=True, null=True)),
                ("jitter_seconds", models.FloatField(db_default=0, default=0)),
                (
                    "overlap",
                    models.CharField(
                        choices=[
                            ("skip", "Skip the fire"),
                            ("allow", "Run both"),
                            ("buffer_one", "Keep one fire until the task has ended"),
                            ("cancel_running", "Cancel the task and run the new one"),
                        ],
                        db_default="skip",
                        default="skip",
                        max_length=14,
                    ),
                ),
                (
                    "catch_up",
                    models.CharField(
                        choices=[("none", "Leave them out"), ("last", "Run the newest"), ("all", "Run all of them")],
                        db_default="last",
                        default="last",
                        max_length=4,
                    ),
                ),
                ("catch_up_window_seconds", models.FloatField(db_default=86400, default=86400)),
                ("pause_after_failures", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("fired_until", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("fired_offset_seconds", models.IntegerField(blank=True, null=True)),
                ("next_fire_at", models.DateTimeField(blank=True, null=True)),
                (
                    "buffered_fire_at",
                    models.DateTimeField(blank=True, help_text="Waits until the last task has ended.", null=True),
                ),
                ("last_fire_at", models.DateTimeField(blank=True, null=True)),
                ("last_task_id", models.UUIDField(blank=True, null=True)),
                (
                    "skipped",
                    models.PositiveIntegerField(db_default=0, help_text="Fires left out because a task had not ended."),
                ),
                (
                    "missed",
                    models.PositiveIntegerField(db_default=0, help_text="Fires left out because no scheduler ran."),
                ),
                (
                    "problem",
                    models.TextField(blank=True, db_default="", help_text="Why its last fire made no task yet."),
                ),
                ("backfill_from", models.DateTimeField(blank=True, null=True)),
                ("backfill_until", models.DateTimeField(blank=True, null=True)),
                ("paused_at", models.DateTimeField(blank=True, null=True)),
                ("paused_by", models.CharField(blank=True, db_default="", max_length=150)),
                ("pause_reason", models.CharField(blank=True, db_default="", max_length=200)),
                (
                    "failures_since",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="Failures in a row count from here.",
                    ),
                ),
                (
                    "declared",
                    models.JSONField(blank=True, help_text="What code declares; empty: people made it.", null=True),
                ),
                ("taken_over_at", models.DateTimeField(blank=True, null=True)),
                ("taken_over_by", models.CharField(blank=True, db_default="", max_length=150)),
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
                    "version",
                    models.PositiveIntegerField(db_default=1, default=1, help_text="Raised by edits; the ETag."),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "db_table": "callboard_schedule",
                "ordering": ["name"],
                "permissions": [
                    ("pause_schedule", "Can pause and resume schedules"),
                    ("run_schedule", "Can run schedules now and for past times"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("cron", ""), ("every_seconds__gte", 1)),
                            models.Q(models.Q(("cron", ""), _negated=True), ("every_seconds__isnull", True)),
                            _connector="OR",
                        ),
                        name="schedule_cron_or_interval",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("backfill_from__isnull", True), ("backfill_until__isnull", True)),
                            models.Q(("backfill_from__isnull", False), ("backfill_until__isnull", False)),
                            _connector="OR",
                        ),
                        name="schedule_backfill_has_both_ends",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("catch_up__in", ["none", "last", "all"]),
                            ("overlap__in", ["skip", "allow", "buffer_one", "cancel_running"]),
                        ),
                        name="schedule_choices_known",
                    ),
                ],
                "indexes": [
                    models.Index(
                        models.F("next_fire_at"),
                        condition=models.Q(("paused_at__isnull", True)),
                        name="schedule_due_idx",
                    ),
                    models.Index(
                        models.F("id"),
                        condition=models.Q(
                            ("buffered_fire_at__isnull", False), ("backfill_from__isnull", False), _connector="OR"
                        ),
                        name="schedule_pending_idx",
                    ),
                ],
            },
        ),
        migrations.AddField("task", "schedule_id", models.UUIDField(blank=True, null=True)),
        migrations.AddField(
            "task", "scheduled_at", models.DateTimeField(blank=True, help_text="The fire that made it.", null=True)
        ),
        # Groups keep them when it is taken back: people are in them.
        migrations.RunPython(extend_groups, migrations.RunPython.noop),
    ]
