"""Requests that submit tasks, as every door reads them: one task, or many, with all that their caller may name."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.contract import fields
from tasks.contract.access import Caller
from tasks.contract.batches import SPREAD, check_batches
from tasks.contract.dependencies import check_parents
from tasks.contract.submissions import read_submission, read_submissions
from tasks.errors import InvalidTask
from tasks.submission import Submission, spread

_OF_MANY: Mapping[str, fields.Reader] = {"tasks": lambda value: value, "spread_seconds": SPREAD}


def read_one(body: Mapping[str, Any], *, caller: Caller) -> Submission:
    """Read one task.

    Raises:
        InvalidTask: with one error per field.
        UnknownActor: there is no such actor, or it is closed to the API.
        NotAllowed: the caller may not submit for this actor or queue, or add to this batch.
        NotFound: the caller may not see its batch.
    """
    submission = read_submission(body, caller=caller)
    if submission.depends_on:
        check_parents([submission], caller=caller)
    if submission.batch:
        check_batches([submission], caller=caller)
    return submission


def read_many(body: Mapping[str, Any], *, caller: Caller) -> Sequence[Submission]:
    """Read ``tasks``, and ``spread_seconds`` over which they become due.

    Raises:
        InvalidTask: with the errors of all of them, fields named ``tasks.<position>.<field>``.
        NotAllowed, NotFound: as ``read_one``.
    """
    values, errors = fields.read_fields(body, _OF_MANY, refused={})
    if errors:
        raise InvalidTask(errors=errors)
    submissions = read_submissions(values.get("tasks"), caller=caller)
    check_batches(submissions, caller=caller)
    return spread(submissions, seconds=values.get("spread_seconds", 0))
