"""redrive_many, discard_many: what a person does to many dead letters at once."""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from tasks.db.statements import fetch
from tasks.lifecycle.operate import retry_many
from tasks.lifecycle.signals import Moved

# Tasks before letters, each in the order of their ids, as every other verb locks them.
_LOCK_TASKS = """
SELECT task.id FROM callboard_task AS task
WHERE task.status = 'DEAD' AND task.id IN (
    SELECT letter.task_id FROM callboard_deadletter AS letter
    WHERE letter.id = ANY(%(ids)s::uuid[]) AND letter.resolution = ''
)
ORDER BY task.id FOR UPDATE OF task
"""
# A discard locks no task: what it resolved while we waited for the locks above is left out here.
_LOCK_LETTERS = """
SELECT letter.task_id FROM callboard_deadletter AS letter
WHERE letter.id = ANY(%(ids)s::uuid[]) AND letter.resolution = '' AND letter.task_id = ANY(%(tasks)s::uuid[])
ORDER BY letter.id FOR UPDATE
"""


@transaction.atomic
def redrive_many(letter_ids: Sequence[UUID], *, by: str = "") -> list[Moved]:
    """Give the tasks of those dead letters that are open a second life, and return them."""
    ids = [str(id) for id in letter_ids]
    dead = [str(id) for (id,) in fetch(_LOCK_TASKS, {"ids": ids})]
    still_open = [id for (id,) in fetch(_LOCK_LETTERS, {"ids": ids, "tasks": dead})]
    return retry_many(still_open, by=by)


_DISCARD_MANY = """
WITH wanted AS MATERIALIZED (
    SELECT letter.id FROM callboard_deadletter AS letter
    WHERE letter.id = ANY(%(ids)s::uuid[]) AND letter.resolution = ''
    ORDER BY letter.id FOR UPDATE
), resolved AS (
    UPDATE callboard_deadletter AS letter
    SET resolution = 'DISCARDED', resolved_by = %(by)s, resolved_at = statement_timestamp()
    FROM wanted WHERE letter.id = wanted.id
    RETURNING letter.id, letter.task_id
), noted AS (
    INSERT INTO callboard_taskevent (task_id, verb, by, detail)
    SELECT task_id, 'discard', %(by)s, '{}' FROM resolved
)
SELECT id FROM resolved
"""


def discard_many(letter_ids: Sequence[UUID], *, by: str = "") -> list[UUID]:
    """Resolve those dead letters that are open without running their tasks again, and return their ids."""
    return [id for (id,) in fetch(_DISCARD_MANY, {"ids": [str(id) for id in letter_ids], "by": by})]
