"""Let tasks with different fairness keys take turns. The index is replaced without locking the table: tasks run."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    # An index is built beside running transactions only outside of one.
    atomic = False
    dependencies = [("callboard", "0033_builds")]
    operations = [
        migrations.AddField(
            "task",
            "fairness_key",
            models.CharField(
                blank=True, help_text="Tasks of one priority with different keys take turns.", max_length=100, null=True
            ),
        ),
        migrations.AddField(
            "task",
            "lane",
            models.PositiveSmallIntegerField(
                db_default=0, editable=False, help_text="Of its fairness key; lanes are dispatched in turn."
            ),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                "queue",
                F("priority").desc(),
                "lane",
                "run_at",
                "id",
                name="task_lane_idx",
                condition=Q(status__in=["PENDING", "RETRYING"]),
            ),
        ),
        # Last, so that the dispatcher has an index all the time.
        RemoveIndexConcurrently("task", "task_due_idx"),
    ]
