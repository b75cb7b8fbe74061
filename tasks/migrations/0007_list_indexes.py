"""Replace the indexes of lists, and add the one of look-ups, without locking the table: tasks run meanwhile."""

from django.contrib.postgres.indexes import BrinIndex, GinIndex
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q

from tasks.models.search_keys import SearchKeys

AT_REST = ("BLOCKED", "CANCELLED", "DEAD", "PENDING", "RETRYING", "SUCCEEDED")


class Migration(migrations.Migration):
    # An index is built beside running transactions only outside of one.
    atomic = False
    dependencies = [("callboard", "0006_task_message_idx")]
    operations = [
        AddIndexConcurrently(
            "task",
            models.Index(
                "owner",
                F("id").desc(),
                name="task_owned_idx",
                condition=Q(owner__isnull=False) & Q(status__in=AT_REST),
            ),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                "status",
                F("id").desc(),
                name="task_by_status_idx",
                condition=Q(status__in=("BLOCKED", "CANCELLED", "DEAD", "RETRYING")),
            ),
        ),
        AddIndexConcurrently(
            "task",
            GinIndex(SearchKeys(), name="task_search_idx", condition=Q(status__in=AT_REST), gin_pending_list_limit=512),
        ),
        AddIndexConcurrently("attempt", BrinIndex("finished_at", name="attempt_finished_idx", autosummarize=True)),
        # Last, so that lists have an index all the time.
        RemoveIndexConcurrently("task", "task_owner_idx"),
        RemoveIndexConcurrently("task", "task_unsuccessful_idx"),
    ]
