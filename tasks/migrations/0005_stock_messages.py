"""Keep the id of a Dramatiq message if its task has another, and count the tasks of groups."""

from django.db import migrations, models
from django.db.models import F


class Migration(migrations.Migration):
    dependencies = [("callboard", "0004_journal")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="message_id",
            field=models.CharField(
                blank=True,
                help_text="The id of the Dramatiq message, if it is not the task's.",
                max_length=255,
                null=True,
            ),
        ),
        migrations.CreateModel(
            name="Barrier",
            fields=[
                ("key", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("waiting_for", models.PositiveIntegerField()),
                (
                    "expires_at",
                    models.DateTimeField(help_text="After this a group whose tasks did not all succeed is forgotten."),
                ),
            ],
            options={
                "db_table": "callboard_barrier",
                "indexes": [models.Index(F("expires_at"), name="barrier_expired_idx")],
            },
        ),
    ]
