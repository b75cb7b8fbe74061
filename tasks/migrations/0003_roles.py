"""Make the group "admin", and give the groups what the API asks for too: a permission for every action."""

from django.db import migrations

EDITS = [
    ("callboard", "task", "change_task", "Can change task"),
    ("callboard", "task", "view_payload", "Can see payloads, results and errors"),
]
ADMINISTRATION = [
    ("callboard", "task", "add_task", "Can add task"),
    ("callboard", "task", "delete_task", "Can delete task"),
    ("callboard", "apitoken", "view_apitoken", "Can view API token"),
    ("callboard", "apitoken", "add_apitoken", "Can add API token"),
    ("callboard", "apitoken", "change_apitoken", "Can change API token"),
    ("callboard", "apitoken", "revoke_apitoken", "Can revoke API tokens"),
]
#: What the migration before this one gave to operators.
OPERATION = [
    *("view_task", "view_queue", "view_worker", "view_deadletter", "view_logentry"),
    *("retry_task", "cancel_task", "pause_queue", "drain_worker", "redrive_deadletter", "discard_deadletter"),
]


def extend_groups(apps, _):
    groups = apps.get_model("auth", "Group").objects
    # Only what is new: somebody may have taken other permissions from the group, or removed it.
    for operator in groups.filter(name="operator"):
        operator.permissions.add(*[permission(apps, *row) for row in EDITS])
    admin, _ = groups.get_or_create(name="admin")
    known = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label__in=["callboard", "dlq", "admin"]
    )
    added = [permission(apps, *row) for row in (*EDITS, *ADMINISTRATION)]
    admin.permissions.add(*known.filter(codename__in=OPERATION), *added)


def permission(apps, app_label, model, codename, name):
    # Django makes permissions after all migrations, and takes over those that are there.
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label=app_label, model=model
    )
    found, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename=codename, defaults={"name": name}
    )
    return found


class Migration(migrations.Migration):
    dependencies = [("callboard", "0002_groups")]
    operations = [
        migrations.AlterModelOptions(
            name="task",
            options={
                "permissions": [
                    ("retry_task", "Can run tasks again"),
                    ("cancel_task", "Can cancel tasks"),
                    ("view_payload", "Can see payloads, results and errors"),
                ]
            },
        ),
        # Groups stay when it is taken back: people are in them.
        migrations.RunPython(extend_groups, migrations.RunPython.noop),
    ]
