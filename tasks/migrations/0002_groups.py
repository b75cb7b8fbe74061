"""Make the groups "viewer", who sees everything, and "operator", who may also act; tokens are for superusers."""

from django.db import migrations

VIEWS = [
    ("callboard", "task", "view_task", "Can view task"),
    ("callboard", "queue", "view_queue", "Can view queue"),
    ("callboard", "worker", "view_worker", "Can view worker"),
    ("dlq", "deadletter", "view_deadletter", "Can view dead letter"),
    ("admin", "logentry", "view_logentry", "Can view log entry"),
]
VERBS = [
    ("callboard", "task", "retry_task", "Can run tasks again"),
    ("callboard", "task", "cancel_task", "Can cancel tasks"),
    ("callboard", "queue", "pause_queue", "Can pause and resume queues"),
    ("callboard", "worker", "drain_worker", "Can drain workers"),
    ("dlq", "deadletter", "redrive_deadletter", "Can re-drive dead letters"),
    ("dlq", "deadletter", "discard_deadletter", "Can discard dead letters"),
]
GROUPS = {"viewer": VIEWS, "operator": [*VIEWS, *VERBS]}


def make_groups(apps, _):
    # Django makes permissions after all migrations, and takes over those that are there.
    for name, rows in GROUPS.items():
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=name)
        group.permissions.add(*[permission(apps, *row) for row in rows])


def permission(apps, app_label, model, codename, name):
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label=app_label, model=model
    )
    found, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename=codename, defaults={"name": name}
    )
    return found


class Migration(migrations.Migration):
    dependencies = [
        ("callboard", "0001_initial"),
        ("dlq", "0001_initial"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    # Groups stay when it is taken back: people are in them.
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
