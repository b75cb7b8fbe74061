"""The arguments of an actor's function: what a call may give, and what the function gets.

A call gives JSON. The function gets what its annotations say: text becomes a ``datetime``, an object a dataclass or a
pydantic model. Positional arguments come from ``send()`` only.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import dramatiq
import pydantic
import pydantic_core
from pydantic.json_schema import GenerateJsonSchema, NoDefault

from tasks.conf import conf
from tasks.errors import FieldError
from tasks.payload import check_json

#: A payload's name for a function's argument may be one that pydantic reserves ("schema", "_x"); this one never is.
_FIELD = "p_{}".format
#: What JSON holds as it is.
_PLAIN = frozenset({Any, object, str, int, bool, list, dict, None, types.NoneType})
_VARIADIC = frozenset({inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD})


@dataclass(frozen=True)
class Arguments:
    """What an actor's function takes.

    Parameters are checked by their annotations, in pydantic's strict mode unless the actor says ``strict=False`` (then
    "2" becomes a number). A function with one parameter annotated with a pydantic model takes the model's fields as its
    payload and receives the model.

    Behind a decorator that takes ``*args, **kwargs``, arguments may be injected or taken away. So none is required
    there, unknown ones pass, and positional ones that do not fit the function are left as they are.
    """

    signature: inspect.Signature
    model: type[pydantic.BaseModel]
    #: The parameter that receives the whole payload as a model, if there is one.
    whole: str | None = None
    #: The check of ``*args``, if they are annotated.
    rest: pydantic.TypeAdapter[Any] | None = None
    is_strict: bool = True
    #: Whether a decorator hides which arguments the call takes.
    is_open: bool = False
    #: Whether the function gets anything else than the JSON that is stored.
    converts: bool = True
    #: Parameters whose annotation checks nothing, and why.
    unchecked: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, fn: Callable[..., Any], *, is_strict: bool = True) -> "Arguments":
        """Read a function's signature."""
        function, is_open = _behind_decorators(fn.perform if isinstance(fn, dramatiq.GenericActor) else fn)
        signature = _signature(function)
        parameters = list(signature.parameters.values())
        hints, unchecked = _hints(function, parameters)
        if len(parameters) == 1 and parameters[0].kind not in _VARIADIC and _is_model(hints.get(parameters[0].name)):
            name = parameters[0].name
            return cls(signature, hints[name], name, is_strict=is_strict, is_open=is_open, unchecked=unchecked)
        rest = next(
            (hints[one.name] for one in parameters if one.kind is one.VAR_POSITIONAL and one.name in hints), Any
        )
        return cls(
            signature,
            _model(function, parameters, hints, is_open=is_open),
            rest=None if rest in (Any, object) else _list_of(rest),
            is_strict=is_strict,
            is_open=is_open,
            converts=any(
                hint not in (Any, object) if not is_strict else not _is_plain(hint) for hint in hints.values()
            ),
            unchecked=unchecked,
        )

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
        if self.is_open or (not args and self._is_known_to_model):
            return self._faults(payload)
        try:
            bound = self.signature.bind(*args, **payload)
        except TypeError as error:
            # Of a payload the model says more: which field.
            errors = [] if args else self._faults(payload)
            return errors or [FieldError("args" if args else "payload", "invalid", str(error))]
        return [*self._faults(_by_name(bound)), *self._faults_of_rest(bound)]

    @cached_property
    def _is_known_to_model(self) -> bool:
        """Whether what fits the model fits the function: it takes positional-only parameters for fields."""
        return all(one.kind is not one.POSITIONAL_ONLY for one in self.signature.parameters.values())

    def convert(self, args: Sequence[Any], payload: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Turn what was stored into the function's positional and keyword arguments.

        Raises:
            pydantic.ValidationError: the function has changed since the submission.
            TypeError: the same.
        """
        if not self.converts:
            return tuple(args), payload
        if self.whole is not None:
            return self._convert_whole(args, payload)
        if not args and (self.is_open or self._is_known_to_model):
            return (), self._converted(payload)
        if self.is_open:
            return self._converted_as_far_as_known(args, payload)
        bound = self.signature.bind(*args, **payload)
        values = self._converted(_by_name(bound))
        for name in bound.arguments:
            match bound.signature.parameters[name].kind:
                case inspect.Parameter.VAR_KEYWORD:
                    bound.arguments[name] = {one: values[one] for one in bound.arguments[name]}
                case inspect.Parameter.VAR_POSITIONAL:
                    bound.arguments[name] = self._converted_rest(bound.arguments[name])
                case _:
                    bound.arguments[name] = values[name]
        return bound.args, bound.kwargs

    def _converted_as_far_as_known(
        self, args: Sequence[Any], payload: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Convert arguments that pass a decorator, which may put others before the positional ones."""
        try:
            bound = self.signature.bind(*args, **payload)
            values = self._converted(_by_name(bound))
        except (TypeError, pydantic.ValidationError):
            return tuple(args), self._converted(payload)
        # By position, so that the decorator gets what was sent.
        names = [one.name for one in self.signature.parameters.values() if one.kind not in _VARIADIC][: len(args)]
        rest = self._converted_rest(args[len(names) :])
        return (*(values[name] for name in names), *rest), {name: values[name] for name in payload}

    def _converted(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Convert named values; those that the function does not name stay what they are."""
        model = self._validated(values)
        found = {name: getattr(model, _FIELD(name)) for name in values if _FIELD(name) in model.model_fields_set}
        return {**values, **(model.model_extra or {}), **found}

    def _converted_rest(self, values: Sequence[Any]) -> Sequence[Any]:
        if self.rest is None:
            return values
        return tuple(self.rest.validate_json(_ANY.dump_json(list(values)), strict=self.is_strict))

    # --- The whole payload as a model ---

    def _check_whole(self, args: Sequence[Any], payload: Mapping[str, Any]) -> list[FieldError]:
        if len(args) > 1 or (args and (payload or not isinstance(args[0], dict))):
            return [FieldError("args", "invalid", f"expected one object, the fields of {self.model.__name__}")]
        fields = self._fields_of(args, payload)
        return [] if fields is None else self._faults(fields)

    def _convert_whole(self, args: Sequence[Any], payload: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        fields = self._fields_of(args, payload)
        if fields is None:
            return (), {}
        model = self._validated(fields)
        assert self.whole is not None
        is_positional = self.signature.parameters[self.whole].kind is inspect.Parameter.POSITIONAL_ONLY
        return ((model,), {}) if is_positional else ((), {self.whole: model})

    def _fields_of(self, args: Sequence[Any], payload: Mapping[str, Any]) -> Any:
        """Return the model's fields; None if nothing is given and the function has a default."""
        if args:
            return args[0]
        assert self.whole is not None
        if not payload and self.signature.parameters[self.whole].default is not inspect.Parameter.empty:
            return None
        # As a stock message may give it: by the name of the parameter.
        named = payload.get(self.whole) if len(payload) == 1 else None
        return named if isinstance(named, dict) and self.whole not in _names_of(self.model) else payload

    # --- The model ---

    def _validated(self, values: Mapping[str, Any]) -> pydantic.BaseModel:
        # JSON mode: strict, yet a date may come as text, since JSON has no dates.
        return self.model.model_validate_json(_ANY.dump_json(values), strict=self.is_strict)

    def _faults(self, values: Mapping[str, Any]) -> list[FieldError]:
        try:
            self._validated(values)
        except pydantic.ValidationError as error:
            return _field_errors("payload", error)
        return []

    def _faults_of_rest(self, bound: inspect.BoundArguments) -> list[FieldError]:
        try:
            for name, value in bound.arguments.items():
                if self.signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
                    self._converted_rest(value)
        except pydantic.ValidationError as error:
            return _field_errors(f"args.{name}", error)
        return []


_ANY = pydantic.TypeAdapter(Any)


def _list_of(hint: Any) -> pydantic.TypeAdapter[Any]:
    several: Any = types.GenericAlias(list, (hint,))
    return pydantic.TypeAdapter(several)


def _field_errors(start: str, error: pydantic.ValidationError) -> list[FieldError]:
    return [_field_error(start, problem) for problem in error.errors(include_url=False, include_input=False)]


def _field_error(start: str, problem: Any) -> FieldError:
    path = ".".join(str(part) for part in (start, *problem["loc"]))
    code = {"extra_forbidden": "unknown_field", "missing": "required"}.get(problem["type"], "invalid")
    message = {"unknown_field": "the actor has no such argument", "required": "the actor needs this argument"}
    return FieldError(path, code, message.get(code, problem["msg"]))


# --- Reading a function ----------------------------------------------------------------------------------------------


def _behind_decorators(fn: Callable[..., Any]) -> tuple[Callable[..., Any], bool]:
    """Find the function that says which arguments it takes, and tell whether a decorator in front of it does not."""
    is_open = False
    while hasattr(fn, "__wrapped__") and _takes_anything(_signature(fn)):
        inner = fn.__wrapped__
        fn, is_open = types.MethodType(inner, fn.__self__) if inspect.ismethod(fn) else inner, True
    return fn, is_open


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    """Read the parameters of a function itself, not of the one that it wraps; unreadable ones may be anything."""
    try:
        return inspect.signature(fn, follow_wrapped=False)
    except (TypeError, ValueError):
        return inspect.Signature([_ANY_ARGS, _ANY_KWARGS])


_ANY_ARGS = inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)
_ANY_KWARGS = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)


def _takes_anything(signature: inspect.Signature) -> bool:
    return {one.kind for one in signature.parameters.values()} == _VARIADIC


def _hints(fn: Callable[..., Any], parameters: Sequence[inspect.Parameter]) -> tuple[dict[str, Any], dict[str, str]]:
    """Resolve the annotations of parameters one by one; return them, and those that check nothing with the reason."""
    hints: dict[str, Any] = {}
    unchecked: dict[str, str] = {}
    for parameter in parameters:
        if parameter.annotation is parameter.empty:
            continue
        hint, reason = _resolved(fn, parameter.annotation)
        if reason:
            unchecked[parameter.name] = reason
        else:
            # `x: int = None` means an optional number, as type checkers once read it.
            hints[parameter.name] = hint | None if parameter.default is None and not _is_model(hint) else hint
    return hints, unchecked


def _resolved(fn: Callable[..., Any], annotation: Any) -> tuple[Any, str]:
    names = getattr(inspect.unwrap(getattr(fn, "__func__", fn)), "__globals__", None)
    if names is None:
        names = getattr(type(fn).__call__, "__globals__", {})
    shown = annotation if isinstance(annotation, str) else getattr(annotation, "__qualname__", str(annotation))
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        hint = typing.get_type_hints(holder, globalns=names, include_extras=True)["it"]
    except Exception as error:  # noqa: BLE001 - whatever the evaluation of an annotation raises
        return Any, f"{shown:.100} cannot be resolved ({error})"
    try:
        if not _is_model(hint):
            pydantic.TypeAdapter(hint).json_schema()
    except Exception as error:  # noqa: BLE001 - pydantic has no common base for "I cannot check this"
        why = str(error).partition("\n")[0]
        return Any, f"{shown:.100} cannot be checked ({why:.200})"
    return hint, ""


def _is_plain(hint: Any) -> bool:
    """Tell whether JSON that fits an annotation is already what the annotation promises."""
    if _is_hashable(hint) and hint in _PLAIN:
        return True
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return all(type(value) in _PLAIN for value in inner)
    return origin in (list, dict, typing.Union, types.UnionType) and all(_is_plain(one) for one in inner)


def _is_hashable(hint: Any) -> bool:
    return getattr(type(hint), "__hash__", None) is not None


def _is_model(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, pydantic.BaseModel)


def _names_of(model: type[pydantic.BaseModel]) -> set[str]:
    return {name for one, info in model.model_fields.items() for name in (one, info.alias) if name}


def _model(
    fn: Callable[..., Any], parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any], *, is_open: bool
) -> type[pydantic.BaseModel]:
    more = next((one for one in parameters if one.kind is one.VAR_KEYWORD), None)
    extra: typing.Literal["allow", "forbid"] = "allow" if more or is_open else "forbid"
    body: dict[str, Any] = {
        "__module__": __name__,
        "__annotations__": {},
        "model_config": pydantic.ConfigDict(extra=extra, arbitrary_types_allowed=False, protected_namespaces=()),
    }
    if more and more.name in hints:
        body["__annotations__"]["__pydantic_extra__"] = types.GenericAlias(dict, (str, hints[more.name]))
    fields: dict[str, Any] = {
        _FIELD(one.name): (hints.get(one.name, Any), _field(one, is_optional=is_open))
        for one in parameters
        if one.kind not in _VARIADIC
    }
    name = getattr(fn, "__name__", type(fn).__name__)
    return pydantic.create_model(name, __base__=type(name, (pydantic.BaseModel,), body), **fields)


def _field(parameter: inspect.Parameter, *, is_optional: bool) -> Any:
    if parameter.default is parameter.empty and not is_optional:
        return pydantic.Field(..., alias=parameter.name)
    if parameter.default is not parameter.empty and _is_json(parameter.default):
        return pydantic.Field(parameter.default, alias=parameter.name)
    # The function has its own default. pydantic would copy this one, which locks and the like refuse.
    return pydantic.Field(default_factory=lambda: None, alias=parameter.name)


def _by_name(bound: inspect.BoundArguments) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            values.update(value)
        elif kind is not inspect.Parameter.VAR_POSITIONAL:
            values[name] = value
    return values


# --- The schema ------------------------------------------------------------------------------------------------------


class _Schema(GenerateJsonSchema):
    """pydantic's, without defaults that are no JSON."""

    def get_default_value(self, schema: Any) -> Any:
        """Give a field's default; none if it is not JSON."""
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


def _is_json(default: Any) -> bool:
    """Tell whether a default can be written as JSON; dates, enums and sets can."""
    try:
        found = pydantic_core.to_jsonable_python(default, inf_nan_mode="constants")
    except Exception:  # noqa: BLE001 - whatever the methods of a default raise
        return False
    return _fits(found)


def _fits(value: Any) -> bool:
    return not check_json(value, field="", max_bytes=conf.MAX_PAYLOAD_BYTES, max_depth=conf.MAX_JSON_DEPTH)
