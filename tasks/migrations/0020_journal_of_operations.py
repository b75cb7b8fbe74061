"""Let the journal name failures and operations; the database does not notice."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("callboard", "0015_grpc_door"),
    ]

    operations = [
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
                ],
                max_length=11,
                verbose_name="object",
            ),
        ),
    ]
