"""Index the open dead letters of each cause."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    # Built beside running workers, which a transaction cannot do.
    atomic = False

    dependencies = [("dlq", "0003_failures")]

    operations = [
        AddIndexConcurrently(
            "deadletter",
            models.Index("fingerprint", F("id").desc(), name="deadletter_cause_idx", condition=Q(("resolution", ""))),
        ),
    ]
