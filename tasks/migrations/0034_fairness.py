"""Let tasks with different fairness keys take turns."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("callboard", "0033_builds")]
    operations = [
        migrations.AddField(
            "task",
            "fairness_key",
            models.CharField(
                blank=True, help_text="Tasks of one priority with different keys take turns.", max_length=100, null=True
            ),
        ),
        migrations.AddField(
            "task",
            "lane",
            models.PositiveSmallIntegerField(
                db_default=0, editable=False, help_text="Of its fairness key; lanes are dispatched in turn."
            ),
        ),
    ]
