"""Dead letters: how they are written, what a list of them can be filtered by, and what a re-drive takes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from dlq.models import DeadLetter, DeadLetterQuerySet
from tasks.contract import fields, journal
from tasks.contract.access import Caller
from tasks.contract.filters import Filter, choice
from tasks.contract.sight import Lens, Sees, Sight, keep_secrets, sight_of
from tasks.contract.submissions import permitted_change
from tasks.contract.values import error_as_dict, timestamp
from tasks.errors import InvalidTask, NotFound
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


# --- Re-drive ---

#: What a re-drive takes: why, and another payload.
REDRIVE: Mapping[str, fields.Reader] = {"reason": journal.reason, "payload": fields.json_object}


def read_redrive(body: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """Read the body of a re-drive: the reason, and the payload that the task gets; None keeps its own.

    Raises:
        InvalidTask: with one error per field.
    """
    values, errors = fields.read_fields(body, REDRIVE, refused={})
    if errors:
        raise InvalidTask("this call takes a reason, a payload, and nothing else", errors=errors)
    return values.get("reason", ""), values.get("payload")


def permitted_payload(payload: dict[str, Any] | None, *, letter: DeadLetter, caller: Caller) -> dict[str, Any] | None:
    """Check the payload of a re-drive against what its caller may change; None keeps the stored one.

    Raises:
        NotFound: the task was removed.
        InvalidTask: it has a mask in the place of a secret.
        NotAllowed: the caller may not change it.
    """
    if payload is None:
        return None
    task = task_of(letter)
    lens = Lens(sight_of(caller)(letter.owner_id), task)
    change = keep_secrets({"payload": payload}, task=task, lens=lens)
    return permitted_change(change, task=task, caller=caller, seen=lens.payload()).get("payload")


def task_of(letter: DeadLetter) -> Task:
    """Find the task of a dead letter, with its arguments.

    Raises:
        NotFound: it was removed.
    """
    task: Task | None = Task.objects.only("actor", "args", "payload", "owner_id").filter(pk=letter.task_id).first()
    if task is None:
        raise NotFound("the task of this dead letter was removed; submit a new one")
    return task
