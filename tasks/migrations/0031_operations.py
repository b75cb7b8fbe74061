"""Add operations, and what the groups may do to them."""

import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
import tasks.models.ids
from django.db import migrations, models

VIEWS = [("view_operation", "Can view operation")]
VERBS = [("add_operation", "Can add operation"), ("change_operation", "Can change operation")]
GROUPS = {"viewer": VIEWS, "operator": [*VIEWS, *VERBS], "admin": [*VIEWS, *VERBS]}


def extend_groups(apps, _):
    # Only groups that are still there: somebody may have removed one.
    for name, rows in GROUPS.items():
        for group in apps.get_model("auth", "Group").objects.filter(name=name):
            group.permissions.add(*[permission(apps, *row) for row in rows])


def permission(apps, codename, name):
    # Django makes permissions after all migrations, and takes over those that are there.
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="callboard", model="operation"
    )
    found, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename=codename, defaults={"name": name}
    )
    return found


class Migration(migrations.Migration):
    dependencies = [
        ("callboard", "0030_task_stats"),
    ]

    operations = [
        migrations.CreateModel(
            name="Operation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=tasks.models.ids.new_id, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "verb",
                    models.CharField(
                        choices=[
                            ("retry", "Retry"),
                            ("cancel", "Cancel"),
                            ("edit", "Edit"),
                            ("requeue", "Requeue"),
                            ("redrive", "Re-drive"),
                            ("discard", "Discard"),
                            ("restore", "Restore"),
                        ],
                        max_length=8,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("PREVIEW", "Preview"),
                            ("CANARY", "Canary"),
                            ("RUNNING", "Running"),
                            ("PAUSED", "Paused"),
                            ("STOPPED", "Stopped"),
                            ("DONE", "Done"),
                            ("CANCELLED", "Cancelled"),
                        ],
                        db_default="PREVIEW",
                        max_length=9,
                    ),
                ),
                ("by", models.CharField(blank=True, db_default="", max_length=150)),
                (
                    "door",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("admin", "Admin"),
                            ("api", "API"),
                            ("grpc", "gRPC"),
                            ("cli", "Command line"),
                            ("code", "Code"),
                            ("scheduler", "Scheduler"),
                            ("worker", "Worker"),
                        ],
                        db_default="",
                        max_length=9,
                    ),
                ),
                ("reason", models.CharField(blank=True, db_default="", max_length=200)),
                (
                    "criteria",
                    models.JSONField(
                        blank=True, db_default={}, default=dict, help_text="What chose its rows.", verbose_name="filter"
                    ),
                ),
                ("failure", models.CharField(blank=True, db_default="", default="", max_length=32)),
                ("change", models.JSONField(blank=True, db_default={}, default=dict, help_text="Of an edit.")),
                ("rate_per_second", models.FloatField(blank=True, help_text="Empty: as fast as it can.", null=True)),
                (
                    "canary",
                    models.PositiveIntegerField(
                        db_default=0, default=0, help_text="This many first, until they have ended."
                    ),
                ),
                (
                    "stop_percent",
                    models.PositiveSmallIntegerField(
                        blank=True, help_text="It stops if so many of the last 50 die again.", null=True
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("paced_at", models.DateTimeField(blank=True, null=True)),
                ("watched_from", models.DateTimeField(blank=True, null=True)),
                ("looked_to", models.BigIntegerField(db_default=0, default=0)),
                (
                    "note",
                    models.CharField(
                        blank=True, db_default="", default="", help_text="Why it stopped.", max_length=300
                    ),
                ),
                (
                    "is_capped",
                    models.BooleanField(
                        db_default=False, default=False, help_text="More rows matched; it has the newest."
                    ),
                ),
                ("total", models.PositiveIntegerField(db_default=0, default=0)),
                ("moved", models.PositiveIntegerField(db_default=0, default=0)),
                ("skipped", models.PositiveIntegerField(db_default=0, default=0)),
                (
                    "skips",
                    models.JSONField(
                        blank=True, db_default={}, default=dict, help_text="How many were skipped, by reason."
                    ),
                ),
                ("succeeded", models.PositiveIntegerField(db_default=0, default=0)),
                ("died", models.PositiveIntegerField(db_default=0, default=0, verbose_name="died again")),
                (
                    "ended",
                    models.PositiveIntegerField(
                        db_default=0, default=0, help_text="Cancelled, or removed, before they ran."
                    ),
                ),
                (
                    "errors",
                    models.PositiveIntegerField(
                        db_default=0, default=0, help_text="Steps that failed and were repeated."
                    ),
                ),
            ],
            options={
                "db_table": "callboard_operation",
                "default_permissions": ("view", "add", "change"),
                "indexes": [
                    models.Index(
                        models.F("id"),
                        condition=models.Q(
                            models.Q(("state", "DONE"), _negated=True), models.Q(("state", "PREVIEW"), _negated=True)
                        ),
                        name="operation_open_idx",
                    ),
                    models.Index(
                        models.F("failure"),
                        models.OrderBy(models.F("id"), descending=True),
                        condition=models.Q(("failure", ""), _negated=True),
                        name="operation_failure_idx",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["PREVIEW", "CANARY", "RUNNING", "PAUSED", "STOPPED", "DONE", "CANCELLED"])
                        ),
                        name="operation_state_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "total__gte",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("moved"), "+", models.F("skipped")
                                ),
                            ),
                            (
                                "moved__gte",
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("succeeded"), "+", models.F("died")
                                    ),
                                    "+",
                                    models.F("ended"),
                                ),
                            ),
                        ),
                        name="operation_counts_add_up",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="OperationItem",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("row_id", models.UUIDField(help_text="Of the task or dead letter.")),
                (
                    "state",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "Waiting"),
                            ("MOVED", "Moved"),
                            ("SKIPPED", "Skipped"),
                            ("SUCCEEDED", "Succeeded"),
                            ("DIED", "Died again"),
                            ("ENDED", "Ended"),
                        ],
                        db_default="",
                        max_length=9,
                    ),
                ),
                (
                    "note",
                    models.CharField(
                        blank=True, db_default="", default="", help_text="Why it was skipped.", max_length=100
                    ),
                ),
                ("moved_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "operation",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="items",
                        to="callboard.operation",
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="callboard.task",
                    ),
                ),
            ],
            options={
                "db_table": "callboard_operationitem",
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        models.F("operation"), models.F("state"), models.F("id"), name="operationitem_state_idx"
                    ),
                    models.Index(
                        models.F("operation"),
                        models.OrderBy(models.F("ended_at"), descending=True),
                        condition=models.Q(("ended_at__isnull", False)),
                        name="operationitem_ended_idx",
                    ),
                ],
            },
        ),
        migrations.RunPython(extend_groups, migrations.RunPython.noop),
    ]
