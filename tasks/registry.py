"""The declared actors: what each takes, its queue and its defaults.

Actors are ordinary ``@dramatiq.actor`` functions. This module reads their options and signatures; it never runs them.
Options keep Dramatiq's names and milliseconds, ``seconds()`` is the one place that converts.
"""

import inspect
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, lru_cache
from typing import Any

import dramatiq
import pydantic
import pydantic_core
from django.conf import settings
from pydantic.json_schema import GenerateJsonSchema, NoDefault

from tasks.errors import FieldError, InvalidTask, UnknownActor
from tasks.payload import check_json
from tasks.priority import HIGHEST, LOWEST
from tasks.retry import MOST_SECONDS

#: Options that Callboard adds to Dramatiq's: ``default_priority`` (1–10), ``api`` (False: not to be submitted by API).
OWN_OPTIONS = frozenset({"default_priority", "api", "retry_for"})

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
    arguments: "Arguments"


def get(name: str) -> ActorSpec:
    """Look up an actor by name.

    Raises:
        UnknownActor: none is declared under that name.
    """
    actor = dramatiq.get_broker().actors.get(name)
    if actor is None or not _is_ours(actor):
        raise _unknown(name)
    return _spec(actor)


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
    message = f"no actor is declared as {name!r:.100}; GET /api/v1/actors lists the declared actors"
    return UnknownActor(message, errors=[FieldError("actor", "unknown_actor", message)])


def all_specs() -> list[ActorSpec]:
    """List every declared actor by name."""
    actors = dramatiq.get_broker().actors
    return [_spec(actors[name]) for name in sorted(actors) if _is_ours(actors[name])]


def actor_names() -> list[str]:
    """Name every declared actor."""
    return [spec.name for spec in all_specs()]


def queue_names() -> list[str]:
    """Name every queue that some actor declares, and the default one."""
    return sorted({spec.queue for spec in all_specs()} | {settings.DEFAULT_QUEUE})


def seconds(milliseconds: float | timedelta) -> float:
    """Convert one of Dramatiq's times."""
    if isinstance(milliseconds, timedelta):
        return milliseconds.total_seconds()
    return milliseconds / 1000


def _is_ours(actor: Any) -> bool:
    return not (actor.fn.__module__ or "").startswith(_FOREIGN_MODULES)


# Keyed by the actor object: tests declare and drop actors under one name.
@lru_cache(maxsize=4096)
def _spec(actor: Any) -> ActorSpec:
    options = actor.options
    return ActorSpec(
        name=actor.actor_name,
        queue=actor.queue_name,
        description=(inspect.getdoc(actor.fn) or "").encode("utf-8", "replace").decode(),
        default_priority=options.get("default_priority", settings.DEFAULT_PRIORITY),
        max_retries=options.get("max_retries", settings.DEFAULT_MAX_RETRIES),
        min_backoff_seconds=_option(options, "min_backoff", settings.DEFAULT_MIN_BACKOFF_SECONDS),
        max_backoff_seconds=_option(options, "max_backoff", settings.DEFAULT_MAX_BACKOFF_SECONDS),
        retry_for_seconds=_limit(options, "retry_for", None),
        time_limit_seconds=_limit(options, "time_limit", settings.DEFAULT_TIME_LIMIT_SECONDS) or 0,
        max_age_seconds=_limit(options, "max_age", None),
        is_open_to_api=options.get("api", True),
        arguments=Arguments.of(actor.fn),
    )


def _option(options: Mapping[str, Any], name: str, default: Any) -> Any:
    value = options.get(name)
    return default if value is None else min(seconds(value), MOST_SECONDS)


def _limit(options: Mapping[str, Any], name: str, default: Any) -> Any:
    """Read a limit; infinity, which is no JSON, means none."""
    value = options.get(name)
    is_endless = not isinstance(value, timedelta) and value == math.inf
    return None if is_endless else _option(options, name, default)


_TIMES = ("min_backoff", "max_backoff", "time_limit", "max_age", "retry_for")


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check the options of an actor that is being declared; a bad one would fail each of its submissions.

    Raises:
        ValueError: says what was expected.
    """
    for option, value in options.items():
        if value is None:
            continue
        if option in _TIMES and not _is_time(value):
            wanted = "milliseconds from 0 on, or a timedelta"
        elif option == "max_retries" and not (isinstance(value, int) and 0 <= value < 2**31):
            wanted = "a whole number from 0 on, or None for ever"
        elif option == "default_priority" and not (isinstance(value, int) and LOWEST <= value <= HIGHEST):
            wanted = f"a whole number from {LOWEST} to {HIGHEST}"
        else:
            continue
        raise ValueError(f"actor {name!r}: expected {option} as {wanted}, got {value!r:.100}")


def _is_time(value: Any) -> bool:
    # Written so that NaN, which compares false with everything, is none.
    return isinstance(value, int | float | timedelta) and seconds(value) >= 0


@dataclass(frozen=True)
class Arguments:
    """What an actor's function takes.

    Parameters are checked by their annotations in pydantic's strict mode (a "2" is not a number). A function with one
    parameter annotated with a pydantic model takes the model's fields as its payload and receives the model.
    """

    signature: inspect.Signature
    model: type[pydantic.BaseModel]
    #: The parameter that receives the whole payload as a model, if there is one.
    whole: str | None

    @classmethod
    def of(cls, fn: Callable[..., Any]) -> "Arguments":
        """Read a function's signature; annotations that pydantic cannot check count as ``Any``."""
        signature = inspect.signature(fn)
        hints = _hints(fn)
        parameters = list(signature.parameters.values())
        if len(parameters) == 1 and _is_model(hints.get(parameters[0].name)):
            return cls(signature, hints[parameters[0].name], parameters[0].name)
        return cls(signature, _model(fn.__name__, parameters, hints), None)

    @property
    def schema(self) -> dict[str, Any]:
        """The payload's JSON Schema, without what JSON cannot say: one actor must not break the list of all."""
        try:
            found: dict[str, Any] = _without_unfit(self.model.model_json_schema(schema_generator=_Schema))
        except Exception:  # noqa: BLE001 - a model may have types without a schema, or hooks of its own that raise
            return {"type": "object"}
        return found

    def check(self, args: Sequence[Any], payload: Mapping[str, Any]) -> list[FieldError]:
        """List what is wrong with a payload (and positional arguments, which only ``send()`` has)."""
        if self.whole is not None:
            return self._check_whole(args, payload)
        if not args and self._is_known_to_model:
            return self._validate(payload)
        try:
            bound = self.signature.bind(*args, **payload)
        except TypeError as error:
            # Of a payload the model says more: which field.
            errors = [] if args else self._validate(payload)
            return errors or [FieldError("args" if args else "payload", "invalid", str(error))]
        return self._validate(_by_name(self.signature, bound))

    @cached_property
    def _is_known_to_model(self) -> bool:
        """Whether what fits the model fits the function: it takes positional-only parameters for fields."""
        return all(one.kind is not one.POSITIONAL_ONLY for one in self.signature.parameters.values())

    def convert(self, args: Sequence[Any], payload: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Turn what was stored into the function's positional and keyword arguments.

        Raises:
            pydantic.ValidationError: the model has changed since the submission.
        """
        if self.whole is None:
            return tuple(args), payload
        fields = args[0] if args else payload
        return (), {self.whole: self.model.model_validate_json(_ANY.dump_json(fields))}

    def _check_whole(self, args: Sequence[Any], payload: Mapping[str, Any]) -> list[FieldError]:
        if not args:
            return self._validate(payload)
        if len(args) > 1 or payload or not isinstance(args[0], dict):
            return [FieldError("args", "invalid", f"expected one object, the fields of {self.model.__name__}")]
        return self._validate(args[0])

    def _validate(self, values: Mapping[str, Any]) -> list[FieldError]:
        try:
            # JSON mode: strict, yet a date may come as text, since JSON has no dates.
            self.model.model_validate_json(_ANY.dump_json(values), strict=True)
        except pydantic.ValidationError as error:
            return [_field_error(problem) for problem in error.errors(include_url=False, include_input=False)]
        return []


_ANY = pydantic.TypeAdapter(Any)


def _field_error(problem: Any) -> FieldError:
    path = ".".join(str(part) for part in ("payload", *problem["loc"]))
    code = {"extra_forbidden": "unknown_field", "missing": "required"}.get(problem["type"], "invalid")
    message = {"unknown_field": "the actor has no such argument", "required": "the actor needs this argument"}
    return FieldError(path, code, message.get(code, problem["msg"]))


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(fn), include_extras=True)
    except Exception:  # noqa: BLE001
        # An annotation that does not evaluate (a name imported for type checkers only) checks nothing.
        return {}


def _is_model(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, pydantic.BaseModel)


def _model(name: str, parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any]) -> type[pydantic.BaseModel]:
    kinds = {parameter.kind for parameter in parameters}
    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        # Behind an alias any parameter name works; pydantic reserves some ("schema", "_x").
        fields[f"p_{parameter.name}"] = (_checkable(hints.get(parameter.name, Any)), _field(parameter))
    extra: typing.Literal["allow", "forbid"] = "allow" if inspect.Parameter.VAR_KEYWORD in kinds else "forbid"
    config = pydantic.ConfigDict(extra=extra, arbitrary_types_allowed=False, protected_namespaces=())
    return pydantic.create_model(name, __config__=config, **fields)


def _field(parameter: inspect.Parameter) -> Any:
    if parameter.default is parameter.empty:
        return pydantic.Field(..., alias=parameter.name)
    if _is_json(parameter.default):
        return pydantic.Field(parameter.default, alias=parameter.name)
    # The function has its own default. pydantic would copy this one, which locks and the like refuse.
    return pydantic.Field(default_factory=lambda: None, alias=parameter.name)


def _is_json(default: Any) -> bool:
    """Tell whether a default can be written as JSON; dates, enums and sets can."""
    try:
        found = pydantic_core.to_jsonable_python(default, inf_nan_mode="constants")
    except Exception:  # noqa: BLE001 - whatever the methods of a default raise
        return False
    return _fits(found)


def _fits(value: Any) -> bool:
    return not check_json(value, field="", max_bytes=settings.MAX_PAYLOAD_BYTES, max_depth=settings.MAX_JSON_DEPTH)


class _Schema(GenerateJsonSchema):
    """pydantic's, without defaults that are no JSON."""

    def get_default_value(self, schema: Any) -> Any:
        """Give a field's default; none if it is no JSON."""
        default = super().get_default_value(schema)
        return default if default is NoDefault or _is_json(default) else NoDefault


def _without_unfit(schema: Any) -> Any:
    """Leave out what JSON cannot say: an infinite bound is no bound."""
    if isinstance(schema, dict):
        return {name: _without_unfit(one) for name, one in schema.items() if _fits(name) and _can_stay(one)}
    if isinstance(schema, list | tuple):
        return [_without_unfit(one) for one in schema if _can_stay(one)]
    return schema


def _can_stay(value: Any) -> bool:
    return isinstance(value, dict | list | tuple) or _fits(value)


def _checkable(hint: Any) -> Any:
    try:
        pydantic.TypeAdapter(hint).json_schema()
    except Exception:  # noqa: BLE001 - pydantic has no common base for "I cannot check this"
        return Any
    return hint


def _by_name(signature: inspect.Signature, bound: inspect.BoundArguments) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            values.update(value)
        elif kind is not inspect.Parameter.VAR_POSITIONAL:
            values[name] = value
    return values


#: ``args``, the message in it, and its ``kwargs``.
_DEPTH_OF_A_CALLBACK = 4


def check_payload(spec: ActorSpec, payload: Any, *, args: Sequence[Any]) -> None:
    """Check a new payload of a task, with the positional arguments that it was accepted with.

    Raises:
        InvalidTask: with one error per field.
    """
    bounds = {"max_bytes": settings.MAX_PAYLOAD_BYTES, "max_depth": settings.MAX_JSON_DEPTH}
    _refuse(spec, check_json(payload, field="payload", **bounds) or spec.arguments.check(args, payload))


def check_stored(spec: ActorSpec, payload: Any, *, args: Sequence[Any]) -> None:
    """Check whether a call that was accepted once still fits the actor, which may have changed since.

    Raises:
        InvalidTask: with one error per field.
    """
    _refuse(spec, spec.arguments.check(args, payload))


def check_arguments(spec: ActorSpec, *, args: Sequence[Any], payload: Any, is_followup: bool = False) -> None:
    """Check a payload's bounds and its fit to the actor.

    Parameters:
        is_followup: it wraps a payload and a result that were within the bounds, so there is room for both.

    Raises:
        InvalidTask: with one error per field.
    """
    bounds = {"max_bytes": settings.MAX_PAYLOAD_BYTES, "max_depth": settings.MAX_JSON_DEPTH}
    if is_followup:
        bounds["max_bytes"] += settings.MAX_RESULT_BYTES + settings.MAX_PAYLOAD_BYTES
        bounds["max_depth"] += _DEPTH_OF_A_CALLBACK
    errors = check_json(payload, field="payload", **bounds) or check_json(list(args), field="args", **bounds)
    if not errors:
        errors = spec.arguments.check(args, payload)
    _refuse(spec, errors)


def _refuse(spec: ActorSpec, errors: Sequence[FieldError]) -> None:
    if errors:
        raise InvalidTask(f"the payload does not fit the actor {spec.name!r}", errors=errors)
