"""Name the death of a task that gave up by itself, too; the database does not notice."""

from django.db import migrations, models

REASONS = [
    ("max_retries_exceeded", "Retries exhausted"),
    ("not_retryable", "Not retryable"),
    ("age_limit_exceeded", "Too old to start"),
    ("time_limit_exceeded", "Ran past its time limit"),
    ("stuck_task_timeout", "Stuck past its time limit"),
    ("crash_loop", "Its workers keep crashing"),
    ("gave_up", "Given up"),
]


class Migration(migrations.Migration):
    dependencies = [("dlq", "0001_initial")]
    operations = [migrations.AlterField("deadletter", "reason", models.CharField(choices=REASONS, max_length=20))]
