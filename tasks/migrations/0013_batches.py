"""Add batches, what the groups may do to them, and the column of the tasks that they count."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models
from django.db.models import F, Q

import tasks.models.ids

ENDED = ["CANCELLED", "FAILED", "SUCCEEDED"]

VIEWS = [("view_batch", "Can view batch")]
OPERATION = [("change_batch", "Can change batch"), ("cancel_batch", "Can cancel batches")]
GROUPS = {"viewer": VIEWS, "operator": [*VIEWS, *OPERATION], "admin": [*VIEWS, *OPERATION]}


def extend_groups(apps, _):
    # Only groups that are still there: somebody may have removed one.
    for name, rows in GROUPS.items():
        for group in apps.get_model("auth", "Group").objects.filter(name=name):
            group.permissions.add(*[permission(apps, *row) for row in rows])


def permission(apps, codename, name):
    # Django makes permissions after all migrations, and takes over those that are there.
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="callboard", model="batch"
    )
    found, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename=codename, defaults={"name": name}
    )
    return found


class Migration(migrations.Migration):
    dependencies = [
        ("callboard", "0012_fires"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Batch",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=tasks.models.ids.new_id, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(blank=True, db_default="", default="", max_length=200)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("OPEN", "Open"),
                            ("RUNNING", "Running"),
                            ("SUCCEEDED", "Succeeded"),
                            ("FAILED", "Failed"),
                            ("CANCELLED", "Cancelled"),
                        ],
                        db_default="OPEN",
                        max_length=9,
                    ),
                ),
                ("total", models.IntegerField(db_default=0, default=0)),
                ("succeeded", models.IntegerField(db_default=0, default=0)),
                ("dead", models.IntegerField(db_default=0, default=0)),
                ("cancelled", models.IntegerField(db_default=0, default=0)),
                (
                    "callbacks",
                    models.JSONField(
                        blank=True,
                        db_default={},
                        default=dict,
                        help_text="The rows of its callbacks, by on_death and so on.",
                    ),
                ),
                (
                    "called",
                    models.JSONField(
                        blank=True,
                        db_default={},
                        default=dict,
                        help_text="The tasks of those that were submitted; null: it failed.",
                    ),
                ),
                (
                    "awaits_death",
                    models.BooleanField(
                        db_default=False, default=False, help_text="It has an on_death that was not submitted yet."
                    ),
                ),
                ("trace_id", models.CharField(db_default="", default="", max_length=32)),
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
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("cancelled_at", models.DateTimeField(blank=True, null=True)),
                ("cancelled_by", models.CharField(blank=True, db_default="", default="", max_length=150)),
                ("cancel_reason", models.CharField(blank=True, db_default="", default="", max_length=200)),
                (
                    "cancel_before",
                    models.UUIDField(
                        blank=True,
                        help_text="Tasks older than this one are still to be cancelled; empty: none are.",
                        null=True,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "batches",
                "db_table": "callboard_batch",
                "permissions": [("cancel_batch", "Can cancel batches")],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(status__in=["OPEN", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]),
                        name="batch_status_known",
                    ),
                    models.CheckConstraint(
                        condition=Q(status="OPEN", closed_at__isnull=True)
                        | (~Q(status="OPEN") & Q(closed_at__isnull=False)),
                        name="batch_open_iff_not_closed",
                    ),
                    models.CheckConstraint(
                        condition=Q(status__in=ENDED, ended_at__isnull=False)
                        | (~Q(status__in=ENDED) & Q(ended_at__isnull=True)),
                        name="batch_ended_at_iff_ended",
                    ),
                ],
                "indexes": [
                    models.Index("owner", F("id").desc(), name="batch_owned_idx", condition=Q(owner__isnull=False)),
                    models.Index(
                        F("id"),
                        name="batch_due_idx",
                        condition=Q(status="RUNNING", total=F("succeeded") + F("dead") + F("cancelled"))
                        | Q(awaits_death=True, dead__gt=0),
                    ),
                    models.Index(F("id"), name="batch_cancelling_idx", condition=Q(cancel_before__isnull=False)),
                ],
            },
        ),
        migrations.CreateModel(
            name="BatchDelta",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "batch",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="deltas",
                        to="callboard.batch",
                    ),
                ),
                ("total", models.IntegerField(db_default=0)),
                ("succeeded", models.IntegerField(db_default=0)),
                ("dead", models.IntegerField(db_default=0)),
                ("cancelled", models.IntegerField(db_default=0)),
            ],
            options={
                "db_table": "callboard_batchdelta",
                "indexes": [models.Index("batch", name="batchdelta_batch_idx")],
            },
        ),
        migrations.AddField(
            "task", "batch_id", models.UUIDField(blank=True, help_text="The batch that counts it.", null=True)
        ),
        # Groups keep them when it is taken back: people are in them.
        migrations.RunPython(extend_groups, migrations.RunPython.noop),
    ]
