"""Messages: requests as the dictionaries that the contract reads, and the contract's dictionaries as answers."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from tasks.contract import strict_json
from tasks.errors import FieldError, InvalidTask, MalformedRequest, TooLarge

#: Fields that hold JSON as text, so that whole numbers stay exact. Repeated fields of these names hold plain texts: a
#: list of tasks is filtered by ``payload``.
JSON = frozenset({"payload", "result", "progress", "detail", "payload_schema", "defaults", "bounds"})

_TIMESTAMP, _STATUS = "google.protobuf.Timestamp", "google.rpc.Status"


# --- Requests -----------------------------------------------------------------------------------------------------


def read(kind: type[Message], raw: bytes) -> dict[str, Any]:
    """Decode a request; what is not set is left out.

    Raises:
        MalformedRequest: it is no such message, or it has fields that this release does not know.
        InvalidTask: a time is out of range, or a text is not JSON; names the field.
    """
    message = kind()
    try:
        message.ParseFromString(raw)
    except (DecodeError, RecursionError) as error:
        raise MalformedRequest(f"expected a message {kind.DESCRIPTOR.full_name}, got bytes that are none") from error
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        # As in REST: ignoring a field would silently break a promise.
        raise MalformedRequest(
            f"the message {kind.DESCRIPTOR.full_name} has fields that this server does not know; is it of an older "
            "release than the client?"
        )
    errors: list[FieldError] = []
    values = _as_dict(message, "", errors)
    if errors:
        raise InvalidTask(errors=errors)
    return values


def as_parameters(values: Mapping[str, Any], *, without: str = "") -> dict[str, list[str]]:
    """Write the fields of a request as the parameters that filters and pages read.

    Parameters:
        without: a field that is none of them.
    """
    lists = {name: one if isinstance(one, list) else [one] for name, one in values.items() if name != without}
    return {name: list(map(_parameter, one)) for name, one in lists.items()}


def _parameter(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def take_cleared(asked: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Take the names of ``clear`` out of a request: they are the nulls among the values, which a message cannot have.

    Raises:
        InvalidTask: a field has a value, too.
    """
    names = asked.pop("clear", [])
    if both := [name for name in names if name in values]:
        message = f"expected a value or its name in clear, got both: {', '.join(both)}"
        raise InvalidTask(errors=[FieldError("clear", "exclusive", message)])
    return {**values, **dict.fromkeys(names)}


def _as_dict(message: Message, path: str, errors: list[FieldError]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field, value in message.ListFields():
        where = f"{path}{field.name}"
        try:
            if (inner := _values_of_map(field)) is not None:
                values[field.name] = {key: _value(inner, one, f"{where}.{key}", errors) for key, one in value.items()}
            elif field.is_repeated:
                values[field.name] = [_value(field, one, f"{where}.{n}", errors) for n, one in enumerate(value)]
            else:
                values[field.name] = _value(field, value, where, errors)
        except InvalidTask as error:
            errors += error.errors
    return values


def _value(field: FieldDescriptor, value: Any, path: str, errors: list[FieldError]) -> Any:
    if field.enum_type is not None:
        return _name(field.enum_type, value)
    if field.message_type is None:
        return _json(value, path) if field.name in JSON and not field.is_repeated else value
    return _moment(value, path) if isinstance(value, Timestamp) else _as_dict(value, f"{path}.", errors)


def _values_of_map(field: FieldDescriptor) -> FieldDescriptor | None:
    """Describe the values of a map; None: the field is none."""
    entry = field.message_type
    return entry.fields_by_name["value"] if entry is not None and entry.GetOptions().map_entry else None


def _name(enum: EnumDescriptor, number: int) -> str:
    """Name a value as the contract does; it refuses the number of a value that is not known."""
    known = enum.values_by_number.get(number)
    return str(number) if known is None else known.name.removeprefix(_prefix(enum)).lower()


def _json(text: str, path: str) -> Any:
    try:
        return strict_json.decoded(text.encode(), what="the text")
    except (MalformedRequest, TooLarge) as error:
        raise InvalidTask(errors=[FieldError(path, "invalid", f"expected JSON: {error.detail}")]) from error


def _moment(value: Timestamp, path: str) -> str:
    try:
        return value.ToJsonString()
    except ValueError as error:
        message = "expected a time from the year 1 to 9999, with 0 to 999,999,999 nanoseconds"
        raise InvalidTask(errors=[FieldError(path, "out_of_range", message)]) from error


# --- Answers ------------------------------------------------------------------------------------------------------


def write(kind: type[Message], values: Mapping[str, Any]) -> Message:
    """Make an answer; null and what is missing are left out, and so is what the message has no field for."""
    message = kind()
    _fill(message, values)
    return message


_Setter = Callable[[Message, str, Any], None]


def _fill(message: Message, values: Mapping[str, Any]) -> None:
    for name, put in _setters(message.DESCRIPTOR):
        value = values.get(name)
        if value is not None:
            put(message, name, value)


@cache
def _setters(kind: Descriptor) -> Sequence[tuple[str, _Setter]]:
    return [(field.name, _setter(field)) for field in kind.fields]


def _setter(field: FieldDescriptor) -> _Setter:
    """Choose how a field is written, once for all answers."""
    inner = field.message_type
    if inner is None:
        return _scalar_setter(field)
    if (values := _values_of_map(field)) is not None:
        if values.message_type is not None:
            return _put_by_key
        return lambda message, name, value: getattr(message, name).update(value)
    if inner.full_name == _TIMESTAMP:
        return lambda message, name, value: getattr(message, name).FromDatetime(datetime.fromisoformat(value))
    if inner.full_name == _STATUS:
        return lambda message, name, value: getattr(message, name).CopyFrom(value)
    if field.is_repeated:
        return _put_each
    return _put_one


def _scalar_setter(field: FieldDescriptor) -> _Setter:
    enum = field.enum_type
    if enum is not None:
        prefix, numbers = _prefix(enum), {name: value.number for name, value in enum.values_by_name.items()}
        return lambda message, name, value: setattr(message, name, numbers[f"{prefix}{str(value).upper()}"])
    if field.is_repeated:
        return lambda message, name, value: getattr(message, name).extend(value)
    if field.name in JSON:
        return lambda message, name, value: setattr(message, name, _as_text(value))
    return setattr


def _as_text(value: Any) -> str:
    # ASCII only: a value may have lone surrogates, which UTF-8 cannot carry.
    return json.dumps(value, separators=(",", ":"))


def _put_each(message: Message, name: str, value: Sequence[Mapping[str, Any]]) -> None:
    found = getattr(message, name)
    for one in value:
        _fill(found.add(), one)


def _put_by_key(message: Message, name: str, value: Mapping[str, Mapping[str, Any]]) -> None:
    found = getattr(message, name)
    for key, one in value.items():
        _fill(found[key], one)


def _put_one(message: Message, name: str, value: Mapping[str, Any]) -> None:
    found = getattr(message, name)
    # It is there even if all of its fields are empty.
    found.SetInParent()
    _fill(found, value)


def _prefix(enum: EnumDescriptor) -> str:
    """What the names of all its values begin with; that of 0 ends with UNSPECIFIED."""
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
