"""Add the statistics of tasks."""

import django.contrib.postgres.fields
from django.db import migrations, models

OUTCOMES = [
    ("SUBMITTED", "Submitted, or brought back by a retry or re-drive"),
    ("SUCCEEDED", "Succeeded"),
    ("RETRYING", "Failed and retried"),
    ("DEAD", "Died"),
    ("CANCELLED", "Cancelled"),
    ("PENDING", "Snoozed, interrupted or rescued"),
]


class Migration(migrations.Migration):
    dependencies = [("callboard", "0020_journal_of_operations")]

    operations = [
        migrations.CreateModel(
            name="TaskStat",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "span_seconds",
                        "start",
                        "actor",
                        "queue",
                        "outcome",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("span_seconds", models.PositiveIntegerField(help_text="The length of the period.")),
                ("start", models.DateTimeField()),
                ("actor", models.CharField(max_length=255)),
                ("queue", models.CharField(max_length=100)),
                ("outcome", models.CharField(choices=OUTCOMES, max_length=9)),
                ("count", models.BigIntegerField()),
                ("run_seconds", models.FloatField(help_text="The sum over all attempts that ended so.")),
                (
                    "waits",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), help_text="From being due to the start.", size=None
                    ),
                ),
                (
                    "runs",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), help_text="Of the actor's function.", size=None
                    ),
                ),
            ],
            options={
                "db_table": "callboard_taskstat",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        name="taskstat_outcome_known",
                        condition=models.Q(outcome__in=[value for value, _ in OUTCOMES]),
                    )
                ],
            },
        ),
        # The rows of the current minute are written again and again: with room in their pages, no index is written.
        migrations.RunSQL("ALTER TABLE callboard_taskstat SET (fillfactor = 50)", migrations.RunSQL.noop),
    ]
