"""The declared actors: what each takes, its queue and its defaults.

Actors are ordinary ``@dramatiq.actor`` functions. This module reads their options and signatures; it never runs them.
Options keep Dramatiq's names and milliseconds, ``seconds()`` is the one place that converts.
"""

import inspect
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

import dramatiq
from dramatiq.asyncio import async_to_sync

from tasks import declared_schedules, schedule_definition
from tasks.arguments import Arguments
from tasks.conf import conf
from tasks.errors import FieldError, InvalidTask, UnknownActor, describe
from tasks.field_faults import shown
from tasks.masking import is_secret, masked_text
from tasks.payload import check_json
from tasks.priority import HIGHEST, LOWEST, from_actor_priority, from_broker_priority, is_broker_queue, shortest_names
from tasks.retry import MOST_SECONDS, RetryPolicy
from tasks.unique import Unique, check_template

#: Options that Callboard adds to Dramatiq's: ``default_priority`` (1–10), ``api`` (False: not to be submitted by API),
#: ``retry_for`` (milliseconds of retries), ``strict`` (False: ``"5"`` is taken for a number), ``observer`` (told of
#: each run by the worker), ``schedule`` (when it runs by itself; see ``declared_schedules``), ``unique`` (a template of
#: unique keys, or an object with one), ``retry_policies`` (what differs in the retries of some exceptions) and
#: ``on_death`` (the actor that is called back when a task dies).
OWN_OPTIONS = frozenset(
    {"default_priority", "api", "retry_for", "strict", "observer", "schedule", "unique", "retry_policies", "on_death"}
)

#: Declared by a library for itself; they work on tables that Callboard does not use.
_FOREIGN_MODULES = ("django_dramatiq.",)


@dataclass(frozen=True)
class ActorSpec:
    """What can be submitted to one actor; times in seconds, ``max_retries=None`` means for ever."""

    name: str
    queue: str
    description: str
    default_priority: int
    max_retries: int | None
    min_backoff_seconds: float
    max_backoff_seconds: float
    retry_for_seconds: float | None
    time_limit_seconds: float
    max_age_seconds: float | None
    is_open_to_api: bool
    arguments: Arguments
    #: Its key is a template.
    unique: Unique | None = None


def get(name: str) -> ActorSpec:
    """Look up an actor by name.

    Raises:
        UnknownActor: none is declared under that name.
    """
    try:
        actor = dramatiq.get_broker().actors.get(name)
    except TypeError:
        # From code it may be anything, such as a list, which no dictionary takes.
        actor = None
    if actor is None or not _is_ours(actor):
        raise _unknown(name)
    return _spec(actor)


def arguments_of(actor: Any) -> Arguments:
    """Return what a declared actor's function takes."""
    return _spec(actor).arguments


def get_open(name: str) -> ActorSpec:
    """Look up an actor that may be submitted through the API.

    Raises:
        UnknownActor: none is declared under that name, or it is closed to the API: the two look the same.
    """
    spec = get(name)
    if not spec.is_open_to_api:
        raise _unknown(name)
    return spec


def _unknown(name: str) -> UnknownActor:
    message = f"no actor is declared as {shown(name)}; GET /api/v1/actors lists the declared actors"
    return UnknownActor(message, errors=[FieldError("actor", "unknown_actor", message)])


def all_specs() -> list[ActorSpec]:
    """List every declared actor by name."""
    actors = dramatiq.get_broker().actors
    return [_spec(actors[name]) for name in sorted(actors) if _is_ours(actors[name])]


def actor_names() -> list[str]:
    """Name every declared actor."""
    return [spec.name for spec in all_specs()]


def queue_names() -> list[str]:
    """Name every queue that an actor or ``broker.declare_queue()`` declares, and the default one."""
    broker = dramatiq.get_broker()
    foreign = {actor.queue_name for actor in broker.actors.values() if not _is_ours(actor)}
    declared = {name for name in shortest_names(broker.get_declared_queues()) if not is_broker_queue(name)}
    return sorted({spec.queue for spec in all_specs()} | (declared - foreign) | {conf.DEFAULT_QUEUE})


def seconds(milliseconds: float | timedelta) -> float:
    """Convert one of Dramatiq's times; those beyond what a float holds become infinite."""
    if isinstance(milliseconds, timedelta):
        return milliseconds.total_seconds()
    if milliseconds > sys.float_info.max:
        return math.inf
    return milliseconds / 1000


#: Dramatiq wraps each coroutine function in a plain one of its own; all of these have this code in common.
_SYNC_OF_ASYNC = async_to_sync(_unknown).__code__  # type: ignore[arg-type]


def declared(fn: Any) -> Any:
    """Return the function that was declared as an actor, with all of its decorators.

    Dramatiq makes a plain function of a coroutine function, and the worker wraps what an actor runs; only these two
    layers are taken off.
    """
    fn = getattr(fn, "declared_as", fn)
    return fn.__wrapped__ if is_made_by_dramatiq(fn) else fn


def is_made_by_dramatiq(fn: Any) -> bool:
    """Tell whether a function is the plain one that Dramatiq makes of a coroutine function."""
    return getattr(fn, "__code__", None) is _SYNC_OF_ASYNC


def _is_ours(actor: Any) -> bool:
    return not (actor.fn.__module__ or "").startswith(_FOREIGN_MODULES)


# Keyed by the actor object: tests declare and drop actors under one name.
@lru_cache(maxsize=4096)
def _spec(actor: Any) -> ActorSpec:
    options = actor.options
    return ActorSpec(
        name=actor.actor_name,
        queue=actor.queue_name,
        description=(inspect.getdoc(declared(actor.fn)) or "").encode("utf-8", "replace").decode(),
        default_priority=_default_priority(actor),
        max_retries=options.get("max_retries", conf.DEFAULT_MAX_RETRIES),
        min_backoff_seconds=_option(options, "min_backoff", conf.DEFAULT_MIN_BACKOFF_SECONDS),
        max_backoff_seconds=_option(options, "max_backoff", conf.DEFAULT_MAX_BACKOFF_SECONDS),
        retry_for_seconds=_limit(options, "retry_for", None),
        time_limit_seconds=_limit(options, "time_limit", conf.DEFAULT_TIME_LIMIT_SECONDS) or 0,
        max_age_seconds=_limit(options, "max_age", None),
        is_open_to_api=options.get("api", True),
        arguments=Arguments.of(declared(actor.fn), is_strict=options.get("strict") is not False),
        unique=None if options.get("unique") is None else Unique.read(options["unique"]),
    )


def _default_priority(actor: Any) -> int:
    """Read Callboard's own option, or what stands for it in code that was written for stock Dramatiq."""
    options = actor.options
    if options.get("default_priority") is not None:
        return int(options["default_priority"])
    if options.get("broker_priority") is not None:
        return broker_priority(options["broker_priority"])
    return from_actor_priority(actor.priority, default=conf.DEFAULT_PRIORITY)


def broker_priority(value: Any) -> int:
    """Read the option ``broker_priority`` of an actor or a message.

    Raises:
        ValueError: it is not a whole number from 0 on.
    """
    if not _is_whole(value) or value < 0:
        raise ValueError(value)
    return from_broker_priority(value, default=conf.DEFAULT_PRIORITY)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _option(options: Mapping[str, Any], name: str, default: Any) -> Any:
    value = options.get(name)
    return default if value is None else min(seconds(value), MOST_SECONDS)


def _limit(options: Mapping[str, Any], name: str, default: Any) -> Any:
    """Read a limit; infinity, which is no JSON, means none."""
    value = options.get(name)
    is_endless = not isinstance(value, timedelta) and value == math.inf
    return None if is_endless else _option(options, name, default)


_TIMES = ("min_backoff", "max_backoff", "time_limit", "max_age", "retry_for")


def check_options(name: str, options: Mapping[str, Any], *, priority: Any = 0) -> None:
    """Check the options of an actor that is being declared; a bad one would fail each of its submissions.

    Raises:
        ValueError: says what was expected.
    """
    if options.get("schedule") is not None:
        declared_schedules.read(name, options["schedule"])
    for option, value in {**options, "priority": priority}.items():
        if value is None:
            continue
        if option in _TIMES and not _is_time(value):
            wanted = "milliseconds from 0 on, or a timedelta"
        elif option == "max_retries" and not (_is_whole(value) and 0 <= value < 2**31):
            wanted = "a whole number from 0 on, or None for ever"
        elif option == "priority" and not _is_whole(value):
            wanted = "a whole number, lower for what runs first"
        elif option == "broker_priority" and not (_is_whole(value) and value >= 0):
            wanted = "a whole number from 0 on"
        elif option in ("strict", "api") and not isinstance(value, bool):
            wanted = "True or False"
        elif option == "default_priority" and not (_is_whole(value) and LOWEST <= value <= HIGHEST):
            wanted = f"a whole number from {LOWEST} to {HIGHEST}"
        elif option == "on_death" and not isinstance(value, str):
            wanted = "the name of an actor"
        else:
            continue
        raise ValueError(f"actor {name!r}: expected {option} as {wanted}, got {value!r:.100}")


def check_unique(actor: Any) -> None:
    """Check the option ``unique`` of an actor that is being declared against its parameters.

    Raises:
        ValueError: says what was expected.
    """
    option = actor.options.get("unique")
    if option is None:
        return
    if actor.options.get("schedule") is not None:
        raise ValueError(f"actor {actor.actor_name!r}: schedule and unique: {schedule_definition.NO_KEYS}")
    try:
        check_template(Unique.read(option).key, inspect.signature(declared(actor.fn)))
    except ValueError as error:
        raise ValueError(f"actor {actor.actor_name!r}: unique: {error}") from error


def check_retry_policies(actor: Any) -> list[RetryPolicy]:
    """Check the option ``retry_policies`` of an actor that is being declared, and return it.

    Raises:
        ValueError: says what was expected.
    """
    policies = actor.options.get("retry_policies")
    policies = [] if policies is None else policies
    where = f"actor {actor.actor_name!r}: retry_policies"
    if not isinstance(policies, list | tuple) or not all(isinstance(one, RetryPolicy) for one in policies):
        raise ValueError(f"{where}: expected a list of RetryPolicy, got {policies!r:.100}")
    for one in policies:
        kinds = one.on if isinstance(one.on, tuple) else (one.on,)
        if not kinds or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
            raise ValueError(f"{where}: expected on as classes of exceptions, got {one.on!r:.100}")
        if one.delay is not None and not _is_time(one.delay):
            raise ValueError(f"{where}: expected delay as milliseconds from 0 on, got {one.delay!r:.100}")
        if one.max_retries is not None and not (_is_whole(one.max_retries) and 0 <= one.max_retries < 2**31):
            raise ValueError(f"{where}: expected max_retries from 0 on, got {one.max_retries!r:.100}")
        if one.priority is not None and not (_is_whole(one.priority) and LOWEST <= one.priority <= HIGHEST):
            raise ValueError(f"{where}: expected priority from {LOWEST} to {HIGHEST}, got {one.priority!r:.100}")
        if one.queue is not None and not (isinstance(one.queue, str) and 0 < len(one.queue) <= 100):
            raise ValueError(f"{where}: expected queue as a name of up to 100 characters, got {one.queue!r:.100}")
    return list(policies)


def _is_time(value: Any) -> bool:
    if not isinstance(value, int | float | timedelta) or isinstance(value, bool):
        return False
    # Written so that NaN, which compares false with everything, is none.
    return value >= timedelta(0) if isinstance(value, timedelta) else value >= 0


def arguments_by_name(actor: str, *, args: Sequence[Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments of a call the names of their parameters, positional ones first.

    One without a name of its own gets its place: ``*0``, ``*1``.
    """
    if not args:
        return dict(payload)
    names = _positional_names(actor, len(args))
    places = (f"*{place}" if name is None or name in payload else name for place, name in enumerate(names))
    return {**dict(zip(places, args, strict=True)), **payload}


def _positional_names(actor: str, count: int) -> list[str | None]:
    """Name positional arguments; None for one that no parameter takes, or if this process does not know the actor."""
    found: list[str | None] = []
    try:
        parameters = list(get(actor).arguments.signature.parameters.values())
    except UnknownActor:
        parameters = []
    for one in parameters:
        if one.kind is one.VAR_POSITIONAL:
            found += [f"{one.name}_{place}" for place in range(len(found), count)]
        elif one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD):
            found.append(one.name)
    return [*found[:count], *[None] * (count - len(found))]


#: ``args``, the message in it, and its ``kwargs``.
_DEPTH_OF_A_CALLBACK = 4


def check_payload(spec: ActorSpec, payload: Any, *, args: Sequence[Any]) -> None:
    """Check a new payload of a task, with the positional arguments that it was accepted with.

    Raises:
        InvalidTask: with one error per field.
    """
    bounds = {"max_bytes": conf.MAX_PAYLOAD_BYTES, "max_depth": conf.MAX_JSON_DEPTH}
    _refuse(spec, check_json(payload, field="payload", **bounds) or spec.arguments.check(args, payload))


def check_stored(spec: ActorSpec, payload: Any, *, args: Sequence[Any]) -> None:
    """Check whether a call that was accepted once still fits the actor, which may have changed since.

    Raises:
        InvalidTask: with one error per field.
    """
    _refuse(spec, [_without_value(error) for error in spec.arguments.check(args, payload)])


def _without_value(error: FieldError) -> FieldError:
    """Mask what a message says of a stored value, because the reader need not be the one who gave it."""
    if any(map(is_secret, error.field.split("."))):
        return replace(error, message="the value does not fit")
    return replace(error, message=masked_text(error.message))


def check_arguments(spec: ActorSpec, *, args: Sequence[Any], payload: Any, is_followup: bool = False) -> None:
    """Check a payload's bounds and its fit to the actor.

    Parameters:
        is_followup: it wraps a payload and a result that were within the bounds, so there is room for both.

    Raises:
        InvalidTask: with one error per field.
    """
    bounds = {"max_bytes": conf.MAX_PAYLOAD_BYTES, "max_depth": conf.MAX_JSON_DEPTH}
    if is_followup:
        bounds["max_bytes"] += conf.MAX_RESULT_BYTES + conf.MAX_PAYLOAD_BYTES
        bounds["max_depth"] += _DEPTH_OF_A_CALLBACK
    errors = check_json(payload, field="payload", **bounds) or check_json(list(args), field="args", **bounds)
    if not errors:
        errors = spec.arguments.check(args, payload)
    _refuse(spec, errors)


def _refuse(spec: ActorSpec, errors: Sequence[FieldError]) -> None:
    if errors:
        raise InvalidTask(f"the payload does not fit the actor {spec.name!r}: {describe(errors):.500}", errors=errors)
