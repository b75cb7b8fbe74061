"""Order the index of due tasks by lane too. It is replaced without locking the table: tasks run meanwhile."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    # An index is built beside running transactions only outside of one.
    atomic = False
    dependencies = [("callboard", "0034_fairness")]
    operations = [
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
