"""Add the columns of unique keys, and their index without locking the table: tasks run meanwhile."""

from django.db import migrations, models

_DROP = "DROP INDEX CONCURRENTLY IF EXISTS task_unique_key"
_CREATE = """
CREATE UNIQUE INDEX CONCURRENTLY task_unique_key ON callboard_task (unique_key)
WHERE unique_key IS NOT NULL
"""


class Migration(migrations.Migration):
    # An index is built beside running transactions only outside of one.
    atomic = False
    dependencies = [("callboard", "0008_dependencies")]
    operations = [
        migrations.AddField(
            "task",
            "unique_key",
            models.UUIDField(
                null=True, blank=True, editable=False, help_text="Digest of the unique key while the task has it."
            ),
        ),
        migrations.AddField(
            "task",
            "unique_rule",
            models.JSONField(null=True, blank=True, editable=False, help_text="The unique key as submitted."),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                # What an interrupted migration has left.
                migrations.RunSQL(_DROP, migrations.RunSQL.noop),
                migrations.RunSQL(_CREATE, _DROP),
            ],
            state_operations=[
                migrations.AddConstraint(
                    "task",
                    models.UniqueConstraint(
                        fields=["unique_key"], name="task_unique_key", condition=models.Q(unique_key__isnull=False)
                    ),
                ),
            ],
        ),
    ]
