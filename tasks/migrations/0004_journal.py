"""Make the journal from the events of tasks and the admin's log of Callboard's own pages.

A view takes the place of the table of events: processes of the release before read their events from it, and what they
write to it is in the journal.
"""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.contrib.auth import get_user_model
from django.db import migrations, models

# An event and the admin's entry of the same act are one row: the entry has the reason. Without a column for the door,
# only the command line and repairs are certain.
COPY_EVENTS_AND_LOG = """
LOCK TABLE callboard_taskevent IN EXCLUSIVE MODE;
WITH log AS MATERIALIZED (
    SELECT entry.id, entry.action_time AS at, entry.action_flag AS flag, entry.object_id, entry.object_repr AS name,
           entry.change_message AS message, type.model, left(author.{name}, 150) AS by
    FROM django_admin_log AS entry
    JOIN django_content_type AS type ON type.id = entry.content_type_id
    JOIN {users} AS author ON author.{id} = entry.user_id
    WHERE (type.app_label, type.model) IN (
        ('callboard', 'task'), ('callboard', 'queue'), ('callboard', 'worker'), ('callboard', 'apitoken'), ('dlq', 'deadletter'))
), read AS MATERIALIZED (
    SELECT log.*,
        CASE log.model WHEN 'deadletter' THEN 'dead_letter' WHEN 'apitoken' THEN 'token' ELSE log.model END AS kind,
        CASE
            WHEN log.flag = 1 THEN 'issue'
            WHEN log.flag = 3 THEN 'delete'
            WHEN log.message ~ '^([0-9,]+ .* )?(Cancel|cancelled)[.:]' OR log.message ~ '^[0-9,]+ .* cancelled$' THEN 'cancel'
            WHEN log.message ~ '^(Run again[.:]|[0-9,]+ .* set to run again)' THEN 'retry'
            WHEN log.message ~ '^(Re-drive[.:]|[0-9,]+ .* re-driven)' THEN 'redrive'
            WHEN log.message ~ '^(Discard[.:]|[0-9,]+ .* discarded)' THEN 'discard'
            WHEN log.message ~ '^(Pause[.:]|[0-9,]+ .* paused)' THEN 'pause'
            WHEN log.message ~ '^(Resume[.:]|[0-9,]+ .* resumed)' THEN 'resume'
            WHEN log.message ~ '^(Drain[.:]|[0-9,]+ .* asked to drain)' THEN 'drain'
            WHEN log.message ~ '^(Revoke[.:]|[0-9,]+ .* revoked)' THEN 'revoke'
            ELSE 'edit'
        END AS verb,
        CASE WHEN log.message LIKE '[%%' THEN '' ELSE left(COALESCE(substring(log.message FROM '^[^:]*: (.*)$'), ''), 200) END
            AS reason,
        CASE WHEN log.object_id IS NULL THEN replace(substring(log.name FROM '^[0-9,]+'), ',', '')::integer END AS count
    FROM log
), one AS MATERIALIZED (
    SELECT read.*, COALESCE(letter.task_id, task.id) AS task_id,
           COALESCE(letter.actor, task.actor, '') AS actor, COALESCE(letter.queue, task.queue, '') AS queue
    FROM read
    LEFT JOIN callboard_deadletter AS letter ON read.kind = 'dead_letter' AND letter.id::text = read.object_id
    LEFT JOIN callboard_task AS task ON read.kind = 'task' AND task.id::text = read.object_id
), matched AS MATERIALIZED (
    SELECT DISTINCT ON (event.id) event.id AS event_id, one.id AS log_id, one.reason, one.kind, one.object_id
    FROM callboard_taskevent AS event
    JOIN one ON one.object_id IS NOT NULL AND one.by = event.by
        AND COALESCE(one.task_id::text, one.object_id) = event.task_id::text
        AND one.at BETWEEN event.at - interval '1 second' AND event.at + interval '10 seconds'
    ORDER BY event.id, one.at
), events AS (
    SELECT event.at, event.verb, event.by,
        CASE WHEN matched.event_id IS NOT NULL THEN 'admin' WHEN event.by LIKE 'cli:%%' THEN 'cli'
             WHEN event.by = '' AND event.verb = 'discard' THEN 'scheduler' ELSE '' END AS door,
        COALESCE(matched.reason, '') AS reason, COALESCE(matched.kind, 'task') AS kind,
        COALESCE(matched.object_id, event.task_id::text) AS object_id, '' AS object_name, event.task_id,
        COALESCE(task.actor, '') AS actor, COALESCE(task.queue, '') AS queue, NULL::integer AS count, event.detail
    FROM callboard_taskevent AS event
    LEFT JOIN matched ON matched.event_id = event.id
    LEFT JOIN callboard_task AS task ON task.id = event.task_id
), others AS (
    SELECT one.at, one.verb, one.by, 'admin', one.reason, one.kind, COALESCE(left(one.object_id, 100), ''),
        CASE WHEN one.kind IN ('worker', 'token') AND one.object_id IS NOT NULL THEN one.name ELSE '' END,
        one.task_id, one.actor, CASE one.kind WHEN 'queue' THEN COALESCE(one.object_id, '') ELSE one.queue END,
        one.count, '{}'::jsonb
    FROM one WHERE NOT EXISTS (SELECT FROM matched WHERE matched.log_id = one.id)
)
INSERT INTO callboard_journal
    (at, verb, by, door, reason, kind, object_id, object_name, task_id, actor, queue, count, detail)
SELECT * FROM (SELECT * FROM events UNION ALL SELECT * FROM others) AS entry ORDER BY at;
"""

PUT_A_VIEW_IN_PLACE = """
DROP TABLE callboard_taskevent;
CREATE VIEW callboard_taskevent AS
    SELECT id, task_id, verb, by, detail, at, kind, object_id FROM callboard_journal WHERE task_id IS NOT NULL;
ALTER VIEW callboard_taskevent ALTER COLUMN kind SET DEFAULT 'task';
"""

PUT_EVENTS_BACK = """
INSERT INTO callboard_taskevent (task_id, verb, by, detail, at)
SELECT task_id, verb, by, detail, at FROM callboard_journal WHERE task_id IS NOT NULL ORDER BY id
"""

READERS = ("viewer", "operator", "admin")


def copy(_, schema_editor):
    # The project's own users, whatever their table and their name.
    users, quote = get_user_model()._meta, schema_editor.quote_name
    columns = {
        "{users}": users.db_table,
        "{id}": users.pk.column,
        "{name}": users.get_field(get_user_model().USERNAME_FIELD).column,
    }
    statement = COPY_EVENTS_AND_LOG
    for place, name in columns.items():
        statement = statement.replace(place, quote(name))
    schema_editor.execute(statement)
    schema_editor.execute(PUT_A_VIEW_IN_PLACE)


def put_back(apps, schema_editor):
    schema_editor.execute("DROP VIEW callboard_taskevent")
    schema_editor.create_model(apps.get_model("callboard", "TaskEvent"))
    schema_editor.execute(PUT_EVENTS_BACK)


def let_groups_read(apps, _):
    # Django makes permissions after all migrations, and takes over those that are there.
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="callboard", model="journal"
    )
    permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename="view_journal", defaults={"name": "Can view journal entry"}
    )
    for group in apps.get_model("auth", "Group").objects.filter(name__in=READERS):
        group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("callboard", "0003_roles"),
        ("dlq", "0001_initial"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.CreateModel(
            name="Journal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("verb", models.CharField(max_length=20)),
                (
                    "by",
                    models.CharField(
                        blank=True, db_default="", help_text="User name; empty for a repair.", max_length=150
                    ),
                ),
                (
                    "door",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("admin", "Admin"),
                            ("api", "API"),
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
                ("reason", models.CharField(blank=True, db_default="", max_length=200)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("task", "Task"),
                            ("dead_letter", "Dead letter"),
                            ("queue", "Queue"),
                            ("worker", "Worker"),
                            ("token", "API token"),
                        ],
                        max_length=11,
                        verbose_name="object",
                    ),
                ),
                (
                    "object_id",
                    models.CharField(
                        blank=True,
                        db_default="",
                        help_text="Empty: a summary.",
                        max_length=100,
                        verbose_name="object ID",
                    ),
                ),
                (
                    "object_name",
                    models.CharField(
                        blank=True,
                        db_default="",
                        help_text="The host and process of a worker, the name of a token.",
                        max_length=300,
                    ),
                ),
                ("actor", models.CharField(blank=True, db_default="", max_length=255)),
                ("queue", models.CharField(blank=True, db_default="", max_length=100)),
                (
                    "operation_id",
                    models.UUIDField(blank=True, help_text="The same for all rows of one act on many.", null=True),
                ),
                (
                    "count",
                    models.PositiveIntegerField(
                        blank=True, help_text="Of a summary: how many objects were changed.", null=True
                    ),
                ),
                ("detail", models.JSONField(blank=True, db_default={})),
                (
                    "task",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="events",
                        to="callboard.task",
                    ),
                ),
            ],
            options={
                "verbose_name": "journal entry",
                "verbose_name_plural": "journal entries",
                "db_table": "callboard_journal",
                "ordering": ["id"],
            },
        ),
        # Copied before the indexes are made, which is faster for many rows.
        migrations.RunPython(copy, put_back),
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel(name="TaskEvent")]),
        migrations.AddIndex(
            model_name="journal",
            index=models.Index(
                models.F("task"), models.F("id"), condition=models.Q(("task__isnull", False)), name="journal_task_idx"
            ),
        ),
        migrations.AddIndex(
            model_name="journal",
            index=models.Index(models.F("object_id"), models.F("id"), name="journal_object_idx"),
        ),
        migrations.AddIndex(
            model_name="journal",
            index=models.Index(models.F("by"), models.OrderBy(models.F("id"), descending=True), name="journal_by_idx"),
        ),
        migrations.AddIndex(
            model_name="journal",
            index=models.Index(
                models.F("verb"), models.OrderBy(models.F("id"), descending=True), name="journal_verb_idx"
            ),
        ),
        migrations.AddIndex(
            model_name="journal",
            index=models.Index(models.F("at"), name="journal_at_idx"),
        ),
        migrations.AddIndex(
            model_name="journal",
            index=models.Index(
                models.F("operation_id"),
                models.F("id"),
                condition=models.Q(("operation_id__isnull", False)),
                name="journal_operation_idx",
            ),
        ),
        migrations.AddIndex(
            model_name="journal",
            index=models.Index(
                models.OrderBy(models.F("id"), descending=True),
                condition=models.Q(("operation_id", None), ("count__isnull", False), _connector="OR"),
                name="journal_act_idx",
            ),
        ),
        migrations.RunPython(let_groups_read, migrations.RunPython.noop),
    ]
