"""Make a schedule's fire one task, whatever leaders believe, and let the journal name schedules."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

from tasks.models.unique_index import UniqueIndex


class Migration(migrations.Migration):
    # Built beside running workers, which a transaction cannot do.
    atomic = False

    dependencies = [("callboard", "0011_schedules")]

    operations = [
        AddIndexConcurrently(
            "task",
            UniqueIndex(
                models.F("schedule_id"),
                models.F("scheduled_at"),
                condition=models.Q(("schedule_id__isnull", False)),
                name="task_fire_idx",
            ),
        ),
        migrations.AlterField(
            "journal",
            "kind",
            models.CharField(
                choices=[
                    ("task", "Task"),
                    ("dead_letter", "Dead letter"),
                    ("queue", "Queue"),
                    ("worker", "Worker"),
                    ("token", "API token"),
                    ("schedule", "Schedule"),
                ],
                max_length=11,
                verbose_name="object",
            ),
        ),
    ]
