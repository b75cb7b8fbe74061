"""Copies: what a caller may take over from a task into a new one. The new one is the caller's, who sees all of it."""

from collections.abc import Mapping
from typing import Any

from tasks import registry
from tasks.contract.access import Caller
from tasks.contract.sight import Lens, Sight, masked_fields, sight_of
from tasks.errors import InvalidTask, UnknownActor
from tasks.models import Task
from tasks.submission import FIELDS

#: A copy runs now, and is in no batch and under no unique key of the first.
_LEFT_OUT = {"actor", "payload", "run_at"}
_TAKEN_OVER = [one for one in FIELDS.values() if one.is_column and one.name not in _LEFT_OUT]


def copy_of(task: Task, *, caller: Caller) -> dict[str, Any] | None:
    """Write the submission of a task again as this caller sees it, secrets masked; None if they may not see it.

    Positional arguments get their names. Fields that the actor sets are left out. None also for arguments without a
    name, and for an actor that is not declared.
    """
    lens = Lens(sight_of(caller)(task.owner_id), task)
    payload = lens.by_name()
    if payload is None or any(name.startswith("*") for name in payload):
        return None
    try:
        spec = registry.get(task.actor)
    except UnknownActor:
        return None
    found: dict[str, Any] = {"payload": payload}
    for field in _TAKEN_OVER:
        value = getattr(task, field.name)
        default = getattr(spec, field.actor_option) if field.actor_option else None
        if value != default and value not in (None, []):
            found[field.name] = value
    return found


def refuse_mask(payload: Mapping[str, Any], task: Task, *, caller: Caller) -> None:
    """Refuse a copy with the mask in place of a secret: the new task would show its submitter the secret itself.

    Raises:
        InvalidTask: with one error per value.
    """
    if sight_of(caller)(task.owner_id) is Sight.CLEAR:
        return
    if errors := masked_fields(payload, "expected the value itself, got the mask; a copy does not take secrets over"):
        raise InvalidTask(errors=errors)
