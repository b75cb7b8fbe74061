"""Let the journal name what was done by gRPC."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("callboard", "0014_tasks_of_batches")]

    operations = [
        migrations.AlterField(
            "journal",
            "door",
            models.CharField(
                blank=True,
                choices=[
                    ("admin", "Admin"),
                    ("api", "API"),
                    ("grpc", "gRPC"),
                    ("cli", "Command line"),
                    ("code", "Code"),
                    ("scheduler", "Scheduler"),
                    ("worker", "Worker"),
                ],
                db_default="",
                help_text="Empty: not recorded by that release.",
                max_length=9,
            ),
        ),
    ]
