"""Actors: which ones a caller may submit to, and how they are written."""

from typing import Any

from tasks import registry
from tasks.contract.access import Caller
from tasks.contract.values import number
from tasks.registry import ActorSpec


def submittable_by(caller: Caller) -> list[ActorSpec]:
    """List the actors that a caller may submit to, by name."""
    names = caller.actors
    return [spec for spec in registry.all_specs() if spec.is_open_to_api and (not names or spec.name in names)]


def actor_as_dict(spec: ActorSpec) -> dict[str, Any]:
    """Write a declared actor."""
    return {
        "name": spec.name,
        "description": spec.description,
        "queue": spec.queue,
        "payload_schema": spec.arguments.schema,
        "defaults": {
            "priority": spec.default_priority,
            "max_retries": spec.max_retries,
            "min_backoff_seconds": number(spec.min_backoff_seconds),
            "max_backoff_seconds": number(spec.max_backoff_seconds),
            "retry_for_seconds": number(spec.retry_for_seconds),
            "time_limit_seconds": number(spec.time_limit_seconds),
            "max_age_seconds": number(spec.max_age_seconds),
        },
    }
