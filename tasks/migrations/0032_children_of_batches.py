"""Let tasks depend on batches: edges say so, and batches know as what their children know them."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q

ENDED = ["CANCELLED", "FAILED", "SUCCEEDED"]


class Migration(migrations.Migration):
    # An index is built beside running transactions only outside of one.
    atomic = False
    dependencies = [("callboard", "0031_operations")]

    operations = [
        migrations.AddField(
            "dependency",
            "is_batch",
            models.BooleanField(
                db_default=False, default=False, help_text="The parent is a batch; parent_id is the id of that."
            ),
        ),
        migrations.AddField(
            "batch",
            "settled_as",
            models.CharField(
                max_length=9,
                null=True,
                blank=True,
                help_text="As what its children know it, as in tasks. Empty: no task waits for it.",
            ),
        ),
        migrations.AlterField(
            "task",
            "cause_id",
            models.UUIDField(null=True, blank=True, help_text="The task or batch whose end cancelled this one."),
        ),
        AddIndexConcurrently(
            "batch",
            models.Index(
                F("id"),
                name="batch_unsettled_idx",
                condition=Q(settled_as="WAITING", status__in=ENDED)
                | (
                    Q(settled_as__in=["CANCELLED", "CHECK", "FAILED", "SUCCEEDED"])
                    & (Q(settled_as__lt=F("status")) | Q(settled_as__gt=F("status")))
                ),
            ),
        ),
    ]
