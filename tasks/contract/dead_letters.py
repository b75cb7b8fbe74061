"""Dead letters: how they are written, and what a list of them can be filtered by."""

from collections.abc import Callable, Mapping
from typing import Any

from dlq.models import DeadLetter, DeadLetterQuerySet
from tasks.contract import fields
from tasks.contract.filters import Filter, choice
from tasks.contract.values import error_as_dict, timestamp
from tasks.states import DeathReason, Resolution

FILTERS: Mapping[str, Filter] = {
    "reason": Filter(choice(DeathReason), DeadLetterQuerySet.died_of),
    "resolution": Filter(choice(Resolution), DeadLetterQuerySet.resolved_as),
    "actor": Filter(fields.text(255), DeadLetterQuerySet.for_actor),
    "queue": Filter(fields.text(100), DeadLetterQuerySet.in_queue),
    "task": Filter(fields.identifier, DeadLetterQuerySet.of_task),
}


def dead_letter_as_dict(
    letter: DeadLetter, *, url: Callable[[str], str], task_url: Callable[[str], str]
) -> dict[str, Any]:
    """Write a dead letter."""
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
        "error": error_as_dict(letter.error_type, letter.error_message),
        "fingerprint": letter.fingerprint,
        "died_at": timestamp(letter.died_at),
        "resolution": Resolution(letter.resolution).name,
        "resolved_by": letter.resolved_by or None,
        "resolved_at": timestamp(letter.resolved_at),
    }
