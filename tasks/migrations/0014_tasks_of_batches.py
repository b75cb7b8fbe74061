"""Index the tasks of batches, and let the journal name batches."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Built beside running workers, which a transaction cannot do.
    atomic = False

    dependencies = [("callboard", "0013_batches")]

    operations = [
        AddIndexConcurrently(
            "task",
            models.Index("batch_id", "id", name="task_batch_idx", condition=models.Q(batch_id__isnull=False)),
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
                    ("batch", "Batch"),
                ],
                max_length=11,
                verbose_name="object",
            ),
        ),
    ]
