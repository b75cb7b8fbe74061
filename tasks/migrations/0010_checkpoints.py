"""Keep what a task tells and what happens once in its life: checkpoints, logs and steps."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

KINDS = [("STEP", "Step"), ("SLEEP", "Sleep"), ("WAIT", "Wait"), ("SIGNAL", "Signal")]


class Migration(migrations.Migration):
    dependencies = [("callboard", "0009_unique")]
    operations = [
        migrations.AddField(
            "attempt",
            "log",
            models.JSONField(blank=True, help_text="The lines that its actor logged.", null=True),
        ),
        migrations.AddField("task", "checkpointed_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField(
            "task", "log", models.JSONField(blank=True, help_text="Lines of the running attempt.", null=True)
        ),
        migrations.CreateModel(
            "Step",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "task_id", "kind", "name", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("kind", models.CharField(choices=KINDS, max_length=6)),
                ("name", models.CharField(max_length=100)),
                ("result", models.JSONField(blank=True, help_text="Of a step; of a signal its payload.", null=True)),
                ("ends_at", models.DateTimeField(blank=True, help_text="When a sleep or a wait ends.", null=True)),
                ("is_timeout", models.BooleanField(db_default=False, help_text="The signal did not come in time.")),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="steps",
                        to="callboard.task",
                    ),
                ),
            ],
            options={
                "db_table": "callboard_step",
                "ordering": ["created_at"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(kind__in=[kind for kind, _ in KINDS]), name="step_kind_known"
                    )
                ],
            },
        ),
    ]
