"""The callbacks of deaths that the leader writes: ``on_death`` of tasks that crashed, got stuck, or became too old.

Those of deaths in a worker are part of their outcomes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dramatiq
from django.db import transaction
from dramatiq import Message

from dlq.models import DeadLetter
from tasks.lifecycle.announcements import Moved
from tasks.lifecycle.submit import checked, submit
from tasks.lifecycle.submit_unique import never_refused
from tasks.log import get_logger
from tasks.models import Task
from tasks.states import Status
from tasks.submission import Submission

log = get_logger(__name__)


def call_back(moves: Sequence[Moved]) -> None:
    """Submit ``on_death`` for each of these tasks that has died, in the transaction that writes the deaths.

    A callback that cannot be submitted is logged and dropped; the death stays.
    """
    dead = [move.id for move in moves if move.status == Status.DEAD]
    if not dead:
        return
    letters = {letter.task_id: letter for letter in DeadLetter.objects.open().filter(task_id__in=dead)}
    for task in Task.objects.filter(pk__in=dead).order_by("pk"):
        callback = task.options.get("on_death") or _actor_options(task.actor).get("on_death")
        letter = letters.get(task.pk)
        if callback and letter:
            _submit(callback, task, details_of(letter.reason, letter.error_type, letter.error_message))


def details_of(reason: str, error_type: str, message: str) -> dict[str, str]:
    """Give the second argument of ``on_death``; the first is the message, as for Dramatiq's callbacks."""
    return {"reason": str(reason), "type": error_type, "message": message}


def _submit(callback: str, task: Task, details: Mapping[str, Any]) -> None:
    message: Message[Any] = Message(
        queue_name=task.queue,
        actor_name=task.actor,
        args=tuple(task.args),
        kwargs=task.payload,
        options=task.options,
        message_id=task.message_id or str(task.pk),
        message_timestamp=task.pk.int >> 80,
    )
    submission = Submission(
        actor=callback,
        args=[message.asdict(), details],
        trace_id=task.trace_id,
        owner_id=task.owner_id,
        is_followup=True,
    )
    try:
        # What the database refuses must not undo the deaths.
        with transaction.atomic():
            submit(Submission(actor=callback, row=never_refused(checked(submission))))
    except Exception as error:  # noqa: BLE001 - a validator is the user's code
        log.error(
            "on_death is dropped; the death stays", task_id=str(task.pk), error=f"{type(error).__name__}: {error}"
        )


def _actor_options(name: str) -> Mapping[str, Any]:
    actor = dramatiq.get_broker().actors.get(name)
    return {} if actor is None else actor.options
