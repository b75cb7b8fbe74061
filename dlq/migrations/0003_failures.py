"""Add failures, count the dead letters that are there, and let the groups see and look after failures."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

VIEWS = [("view_failure", "Can view failure")]
VERBS = [("change_failure", "Can change failure")]
GROUPS = {"viewer": VIEWS, "operator": [*VIEWS, *VERBS], "admin": [*VIEWS, *VERBS]}

# Dead letters keep their fingerprints: only later deaths are told apart by the user's own code. What workers of the
# previous release write meanwhile is counted by the leader.
COUNT = """
INSERT INTO callboard_failure (fingerprint, actor, error_type, error_message, task_id, open, total, first_seen_at,
                               last_seen_at)
SELECT letter.fingerprint, letter.actor, letter.error_type, left(letter.error_message, 1000), letter.task_id,
       counted.open, counted.total, counted.first, counted.last
FROM (
    SELECT fingerprint, count(*) FILTER (WHERE resolution = '') AS open, count(*) AS total, min(died_at) AS first,
           max(died_at) AS last, max(id::text)::uuid AS newest
    FROM callboard_deadletter WHERE fingerprint <> '' GROUP BY fingerprint
) AS counted JOIN callboard_deadletter AS letter ON letter.id = counted.newest
"""


def count(_, schema_editor):
    schema_editor.execute(COUNT)


def extend_groups(apps, _):
    # Only groups that are still there: somebody may have removed one.
    for name, rows in GROUPS.items():
        for group in apps.get_model("auth", "Group").objects.filter(name=name):
            group.permissions.add(*[permission(apps, *row) for row in rows])


def permission(apps, codename, name):
    # Django makes permissions after all migrations, and takes over those that are there.
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="dlq", model="failure"
    )
    found, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename=codename, defaults={"name": name}
    )
    return found


class Migration(migrations.Migration):
    dependencies = [
        ("callboard", "0015_grpc_door"),
        ("dlq", "0002_gave_up"),
    ]

    operations = [
        migrations.CreateModel(
            name="Failure",
            fields=[
                ("fingerprint", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("actor", models.CharField(db_default="", max_length=255)),
                ("error_type", models.CharField(blank=True, db_default="", max_length=255)),
                ("error_message", models.TextField(blank=True, db_default="")),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="callboard.task",
                    ),
                ),
                (
                    "frame",
                    models.CharField(
                        blank=True,
                        db_default="",
                        help_text="The innermost frame of the user's own code.",
                        max_length=300,
                    ),
                ),
                ("first_seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("last_seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("open", models.IntegerField(db_default=0, default=0)),
                ("total", models.IntegerField(db_default=0, default=0, help_text="Deaths since it was first seen.")),
                ("assignee", models.CharField(blank=True, db_default="", default="", max_length=150)),
                ("note", models.TextField(blank=True, db_default="", default="", max_length=2000)),
                ("snoozed_until", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "callboard_failure",
                "default_permissions": ("view", "change"),
            },
        ),
        migrations.CreateModel(
            name="FailureDelta",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("fingerprint", models.CharField(max_length=32)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("opened", models.IntegerField(db_default=0)),
                ("died", models.IntegerField(db_default=0)),
                ("actor", models.CharField(db_default="", max_length=255)),
                ("error_type", models.CharField(db_default="", max_length=255)),
                ("error_message", models.TextField(db_default="")),
                ("frame", models.CharField(db_default="", max_length=300)),
                ("task_id", models.UUIDField(null=True)),
            ],
            options={
                "db_table": "callboard_failuredelta",
                "default_permissions": (),
            },
        ),
        migrations.AddIndex(
            model_name="failuredelta",
            index=models.Index(models.F("fingerprint"), name="failuredelta_cause_idx"),
        ),
        migrations.AddIndex(
            model_name="failure",
            index=models.Index(
                models.OrderBy(models.F("last_seen_at"), descending=True),
                condition=models.Q(("open__gt", 0)),
                name="failure_open_idx",
            ),
        ),
        migrations.AddIndex(
            model_name="failure",
            index=models.Index(models.OrderBy(models.F("last_seen_at"), descending=True), name="failure_seen_idx"),
        ),
        migrations.RunPython(count, migrations.RunPython.noop),
        migrations.RunPython(extend_groups, migrations.RunPython.noop),
    ]
