"""submit_once: a submission under a key creates its tasks once, even if it is sent again or concurrently."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction

from tasks.conf import conf
from tasks.db.statements import fetch
from tasks.errors import IdempotencyKeyReused
from tasks.lifecycle.submit import Admit, checked, checked_many, write
from tasks.models import Task
from tasks.submission import OwnerId, Submission


class Receipt(NamedTuple):
    """The tasks of a key: their ids in the order of the submission, and those tasks that still exist."""

    ids: list[UUID]
    tasks: Mapping[UUID, Task]
    is_replayed: bool


# Takes the key, or reads its holder, in one statement. It waits for another submission of the key that has not
# committed yet; if that one rolls back, this one gets the key. A key that has expired and is not pruned yet is taken
# over.
_TAKE_KEY = """
INSERT INTO callboard_idempotencykey AS held (owner_id, key, request_hash, task_ids, expires_at)
VALUES (%(owner)s, %(key)s, %(hash)s, %(ids)s::uuid[], statement_timestamp() + %(seconds)s * interval '1 second')
ON CONFLICT (owner_id, key) DO UPDATE SET
    request_hash = CASE WHEN held.expires_at <= statement_timestamp() THEN excluded.request_hash
                        ELSE held.request_hash END,
    task_ids = CASE WHEN held.expires_at <= statement_timestamp() THEN excluded.task_ids ELSE held.task_ids END,
    expires_at = CASE WHEN held.expires_at <= statement_timestamp() THEN excluded.expires_at ELSE held.expires_at END
RETURNING request_hash, task_ids
"""

_CORRECT_IDS = """
UPDATE callboard_idempotencykey SET task_ids = %(ids)s::uuid[] WHERE owner_id = %(owner)s AND key = %(key)s
RETURNING key
"""


def submit_once(submission: Submission, *, key: str, admit: Admit | None = None) -> Receipt:
    """Accept one task, or find the task that its owner has submitted under this key before.

    Raises:
        InvalidTask, UnknownActor: as ``submit``.
        IdempotencyKeyReused: the key belongs to another submission.
    """
    return _once([submission], [checked(submission)], key, admit)


def submit_many_once(submissions: Sequence[Submission], *, key: str, admit: Admit | None = None) -> Receipt:
    """Accept many tasks of one owner under one key, all or none.

    Raises:
        InvalidTask: as ``submit_many``.
        IdempotencyKeyReused: the key belongs to another submission.
    """
    return _once(submissions, checked_many(submissions), key, admit)


def _once(submissions: Sequence[Submission], rows: Sequence[dict[str, Any]], key: str, admit: Admit | None) -> Receipt:
    owner_id, ids = rows[0]["owner_id"], [row["id"] for row in rows]
    with transaction.atomic():
        held_ids = take_key(owner_id, key, request_hash(submissions), ids)
        if held_ids == ids:
            tasks = write([row | {"idempotency_key": key} for row in rows], admit=admit)
            if (found := [task.pk for task in tasks]) != ids:
                # Another task had the unique key.
                ids = found
                keep_ids(owner_id, key, ids)
            return Receipt(ids, dict(zip(ids, tasks, strict=True)), False)
    return Receipt(held_ids, Task.objects.in_bulk(held_ids), True)


def take_key(owner_id: OwnerId | None, key: str, hashed: str, ids: Sequence[UUID]) -> list[UUID]:
    """Take a key for these ids, and return them, or those that have it already.

    Raises:
        IdempotencyKeyReused: the key belongs to another request.
    """
    parameters = {
        "owner": _number_of(owner_id),
        "key": key,
        "hash": hashed,
        "ids": [str(id) for id in ids],
        "seconds": conf.IDEMPOTENCY_KEY_SECONDS,
    }
    ((held_hash, held_ids),) = fetch(_TAKE_KEY, parameters)
    if held_hash != hashed:
        raise IdempotencyKeyReused()
    return held_ids  # type: ignore[no-any-return]


def keep_ids(owner_id: OwnerId | None, key: str, ids: Sequence[UUID]) -> None:
    """Correct the ids of a key that the same transaction has taken."""
    fetch(_CORRECT_IDS, {"owner": _number_of(owner_id), "key": key, "ids": [str(id) for id in ids]})


_NOTHING_GIVEN = Submission(actor="")


def _number_of(owner_id: OwnerId | None) -> int:
    """Number the owner of a key: 0 for nobody, a digest where the project's users have ids that are no numbers."""
    if owner_id is None or isinstance(owner_id, int):
        return owner_id or 0
    return int.from_bytes(hashlib.blake2b(str(owner_id).encode(), digest_size=8).digest(), "big", signed=True)


def request_hash(submissions: Sequence[Submission], *more: Any) -> str:
    """Hash the meaning of submissions: white space, the order of fields and spellings of a value do not count.

    What was not given is left out, so that a release with more fields still knows the keys of the one before.
    """
    given = [
        {
            field.name: value
            for field in fields(submission)
            if field.name != "trace_id"
            and (value := getattr(submission, field.name)) != getattr(_NOTHING_GIVEN, field.name)
        }
        for submission in submissions
    ]
    return hashlib.sha256(json.dumps([*given, *more], sort_keys=True, default=str).encode()).hexdigest()
