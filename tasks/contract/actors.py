"""Actors: which ones a caller may submit to, and how they are written."""

from typing import Any

from tasks import registry
from tasks.contract.access import SUBMIT_TASK, Caller
from tasks.contract.retry_bounds import bounds_as_dict
from tasks.contract.values import number
from tasks.registry import ActorSpec
from tasks.submission import FIELDS

#: What a task gets that its submission leaves out, by the actor's option; the queue is said beside them.
DEFAULTS = {one.name: one.actor_option for one in FIELDS.values() if one.actor_option and one.name != "queue"}


def submittable_by(caller: Caller) -> list[ActorSpec]:
    """List the actors that a caller may submit to, by name."""
    if not caller.is_permitted(SUBMIT_TASK):
        return []
    names = caller.actors
    return [spec for spec in registry.all_specs() if spec.is_open_to_api and (not names or spec.name in names)]


def actor_as_dict(spec: ActorSpec, *, caller: Caller | None) -> dict[str, Any]:
    """Write a declared actor as its caller may submit to it; None is an operator, who has no bounds."""
    return {
        "name": spec.name,
        "description": spec.description,
        "queue": spec.queue,
        "payload_schema": spec.arguments.schema,
        "defaults": {name: number(getattr(spec, option)) for name, option in DEFAULTS.items()},
        "bounds": bounds_as_dict(spec, caller=caller) if caller else {},
    }
