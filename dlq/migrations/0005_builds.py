"""Let failures name the builds in which tasks died, and sleep until a new one."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("dlq", "0004_cause_index")]

    operations = [
        migrations.AddField(
            model_name="failure",
            name="first_build",
            field=models.CharField(blank=True, db_default="", default="", help_text="Empty: unknown.", max_length=100),
        ),
        migrations.AddField(
            model_name="failure",
            name="last_build",
            field=models.CharField(blank=True, db_default="", default="", max_length=100),
        ),
        migrations.AddField(
            model_name="failure",
            name="snoozed_builds",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=100),
                blank=True,
                help_text="A death in another build ends the snooze.",
                null=True,
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="failuredelta",
            name="build",
            field=models.CharField(db_default="", max_length=100),
        ),
    ]
