"""The app's label before 0.2, ``tasks``, which projects have for apps of their own; its migrations bear the label."""

from django.db import connection, transaction

FORMER = "tasks"

# Of a project's own app `tasks` there is no migration of that name.
_IS_THERE = """
SELECT EXISTS (SELECT FROM django_migrations WHERE app = 'tasks' AND name = '0002_groups')
   AND NOT EXISTS (SELECT FROM django_migrations WHERE app = 'callboard')
"""
_RENAME = """
UPDATE django_migrations SET app = 'callboard' WHERE app = 'tasks';
UPDATE django_content_type SET app_label = 'callboard' WHERE app_label = 'tasks';
"""


def is_there() -> bool:
    """Tell whether the database was last migrated under the former label."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        if "django_migrations" not in tables or "callboard_task" not in tables:
            return False
        cursor.execute(_IS_THERE)
        (found,) = cursor.fetchone()
    return bool(found)


def rename() -> None:
    """Take the migrations, content types and with them the permissions over under the new label."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_RENAME)
