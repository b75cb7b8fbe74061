"""Dead letters: how they are written, and what a list of them can be filtered by."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from dlq.models import DeadLetter, DeadLetterQuerySet
from dlq.queries import LONGEST_ERROR, Cause, error_line
from tasks.contract import fields
from tasks.contract.filters import Filter, choice
from tasks.contract.sight import Lens, Sees, Sight
from tasks.contract.values import error_as_dict, timestamp
from tasks.models import Task
from tasks.states import DeathReason, Resolution

FILTERS: Mapping[str, Filter] = {
    "reason": Filter(choice(DeathReason), DeadLetterQuerySet.died_of),
    "resolution": Filter(choice(Resolution), DeadLetterQuerySet.resolved_as),
    "actor": Filter(fields.text(255), DeadLetterQuerySet.for_actor),
    "queue": Filter(fields.text(100), DeadLetterQuerySet.in_queue),
    "failure": Filter(fields.fingerprint, DeadLetterQuerySet.of_cause),
    "task": Filter(fields.identifier, DeadLetterQuerySet.of_task),
}


def lenses(letters: Sequence[DeadLetter], *, sees: Sees) -> dict[UUID, Lens]:
    """Make the lens of each dead letter, with one query for the tasks whose secrets have to be known."""
    wanted = [letter.task_id for letter in letters if sees(letter.owner_id) is Sight.MASKED]
    tasks = Task.objects.only("actor", "args", "payload").in_bulk(wanted) if wanted else {}
    return {letter.pk: Lens(sees(letter.owner_id), tasks.get(letter.task_id)) for letter in letters}


def errors_of(causes: Sequence[Cause], *, sees: Sees) -> dict[str, str]:
    """Write the error of each cause, by its fingerprint, as a user sees it who owns none of its tasks."""
    sight = sees(None)
    wanted = [cause.task_id for cause in causes] if sight is Sight.MASKED else []
    tasks = Task.objects.only("actor", "args", "payload").in_bulk(wanted)
    return {
        cause.fingerprint: error_line(
            cause.error_type, Lens(sight, tasks.get(cause.task_id)).text(cause.error_message) or ""
        )[:LONGEST_ERROR]
        for cause in causes
    }


def dead_letter_as_dict(
    letter: DeadLetter, *, url: Callable[[str], str], task_url: Callable[[str], str], lens: Lens
) -> dict[str, Any]:
    """Write a dead letter through the lens of its task."""
    id, task_id = str(letter.pk), str(letter.task_id)
    return {
        "id": id,
        "url": url(id),
        "task_id": task_id,
        "task_url": task_url(task_id),
        "actor": letter.actor,
        "queue": letter.queue,
        "attempt": letter.attempt,
        "reason": letter.reason,
        "error": error_as_dict(lens, letter.error_type, letter.error_message),
        "hidden": lens.hidden("error.message"),
        "fingerprint": letter.fingerprint,
        "died_at": timestamp(letter.died_at),
        "resolution": Resolution(letter.resolution).name,
        "resolved_by": letter.resolved_by or None,
        "resolved_at": timestamp(letter.resolved_at),
    }
