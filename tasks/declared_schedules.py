"""The schedules that code declares: beside their actors, or in the setting ``SCHEDULES``."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import dramatiq

from tasks import schedule_definition, timetable
from tasks.conf import conf
from tasks.errors import describe

#: What a declaration may say, beside a name; ``schedule`` is a cron expression with its zone.
FIELDS = frozenset(
    {"schedule", "cron", "every_seconds", "timezone", "starts_at", "ends_at", "jitter_seconds", "overlap", "catch_up"}
    | {"catch_up_window_seconds", "pause_after_failures", "payload", "options"}
)


def all_declared() -> dict[str, dict[str, Any]]:
    """Give the definition of every declared schedule by its name.

    Raises:
        ValueError: a declaration is not valid; the message names it.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, definition in (*_of_actors(), *_of_setting()):
        if name in found:
            raise ValueError(f"schedule {name!r} is declared twice; give one of them another name")
        found[name] = definition
    return found


def _of_actors() -> Iterator[tuple[str, dict[str, Any]]]:
    for actor in dramatiq.get_broker().actors.values():
        if actor.options.get("schedule") is not None:
            yield from read(actor.actor_name, actor.options["schedule"])


def _of_setting() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, declaration in conf.SCHEDULES.items():
        if not isinstance(declaration, Mapping) or "actor" not in declaration:
            raise ValueError(f"SCHEDULES: expected an actor for {name!r}, got {declaration!r:.100}")
        fields = {key: value for key, value in declaration.items() if key != "actor"}
        yield name, {"actor": declaration["actor"], **_definition(f"schedule {name!r}", fields)}


def read(actor: str, option: Any) -> list[tuple[str, dict[str, Any]]]:
    """Read the option ``schedule`` of an actor: one declaration, or a mapping of names to declarations.

    Raises:
        ValueError: says what was expected.
    """
    is_named = isinstance(option, Mapping) and not FIELDS & {*option}
    named = option if is_named else {actor: option}
    if not named or not all(isinstance(name, str) and name for name in named):
        raise ValueError(f"actor {actor!r}: expected schedules by name, got {option!r:.100}")
    return [(name, {"actor": actor, **_definition(f"actor {actor!r}", one)}) for name, one in named.items()]


def _definition(whose: str, declaration: Any) -> dict[str, Any]:
    if isinstance(declaration, str):
        declaration = {"schedule": declaration}
    elif isinstance(declaration, timedelta):
        declaration = {"every_seconds": declaration.total_seconds()}
    if not isinstance(declaration, Mapping) or not {*declaration} <= FIELDS:
        wanted = 'a cron expression such as "0 6 * * 1-5 Europe/Berlin", a timedelta, or a dictionary of '
        raise ValueError(f"{whose}: expected schedule as {wanted}{', '.join(sorted(FIELDS))}, got {declaration!r:.100}")
    fields = dict(declaration)
    try:
        if "schedule" in fields:
            fields["cron"], fields["timezone"] = timetable.split(str(fields.pop("schedule")))
    except ValueError as error:
        raise ValueError(f"{whose}: schedule: {error}") from error
    if errors := [*schedule_definition.faults(fields)]:
        raise ValueError(f"{whose}: schedule: {describe(errors)}")
    return fields
