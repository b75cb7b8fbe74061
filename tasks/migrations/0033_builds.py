"""Let workers tell their build and their memory, and the journal name builds."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("callboard", "0032_children_of_batches"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="build",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="Of your code; empty: unknown.", max_length=100
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="memory_bytes",
            field=models.BigIntegerField(blank=True, help_text="At the last heartbeat; empty: unknown.", null=True),
        ),
        migrations.AlterField(
            model_name="journal",
            name="kind",
            field=models.CharField(
                choices=[
                    ("task", "Task"),
                    ("dead_letter", "Dead letter"),
                    ("queue", "Queue"),
                    ("worker", "Worker"),
                    ("token", "API token"),
                    ("schedule", "Schedule"),
                    ("batch", "Batch"),
                    ("failure", "Failure"),
                    ("operation", "Operation"),
                    ("build", "Build"),
                ],
                max_length=11,
                verbose_name="object",
            ),
        ),
    ]
