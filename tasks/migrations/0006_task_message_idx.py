"""Index the ids of Dramatiq messages that are not their tasks'."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    # Built beside running workers, which a transaction cannot do.
    atomic = False

    dependencies = [("callboard", "0005_stock_messages")]

    operations = [
        AddIndexConcurrently(
            model_name="task",
            index=models.Index(F("message_id"), condition=Q(message_id__isnull=False), name="task_message_idx"),
        ),
    ]
