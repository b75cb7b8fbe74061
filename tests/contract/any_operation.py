"""Any operation of REST, called by its id at REST or by its counterpart at gRPC, with the same outcome."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from google.protobuf.json_format import ParseDict

from tasks.api.openapi_operations import OPERATIONS
from tasks.rpc import messages
from tasks.rpc.services import METHODS, PACKAGE
from tests.callers import Caller
from tests.contract.doors import Outcome, answer, of_answer, of_response
from tests.contract.parity import METHOD_OF

_BY_NAME = {one.name: one for one in OPERATIONS}
#: Messages that hold the fields of a body.
_HOLDERS = ("task", "change", "schedule")


def at_rest(caller: Caller, name: str, id: Any = "", /, **values: Any) -> Outcome:
    """Send the values as a query or as a body."""
    operation = _BY_NAME[name]
    path = operation.path.replace("{signal}", str(values.pop("signal", "")))
    path = "/".join(str(id) if part.startswith("{") else part for part in path.split("/"))
    if operation.method == "get":
        return of_response(caller.get(f"{path}?{urlencode(values, doseq=True)}"))
    return of_response(
        caller.generic(operation.method.upper(), path, json.dumps(values).encode(), content_type="application/json")
    )


def at_grpc(caller: Caller, name: str, id: Any = "", /, **values: Any) -> Outcome:
    """Send the values as the message has them, and read the answer as REST would have written it."""
    method = METHODS[f"/{PACKAGE}.{METHOD_OF[name]}"]
    if id:
        values["fingerprint" if "fingerprint" in method.request.DESCRIPTOR.fields_by_name else "id"] = str(id)
    request = ParseDict(_as_message(method.request.DESCRIPTOR, values), method.request())
    outcome = of_answer(answer(METHOD_OF[name], request.SerializeToString(), caller))
    return outcome if outcome.code else outcome._replace(body=_flat(outcome.body))


def _as_message(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    known = kind.fields_by_name
    holder = next((name for name in _HOLDERS if name in known), "")
    written: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            written.setdefault("clear", []).append(name)
        elif name in known:
            written[name] = _field(known[name], value)
        else:
            assert holder, f"{kind.name} has no field {name}"
            inner = known[holder].message_type
            written.setdefault(holder, {})[name] = _field(inner.fields_by_name[name], value)
    return written


def _field(field: Any, value: Any) -> Any:
    if field.name in messages.JSON and not field.is_repeated:
        return json.dumps(value)
    if field.enum_type is not None:
        prefix = messages._prefix(field.enum_type)
        return [f"{prefix}{one.upper()}" for one in value] if isinstance(value, list) else f"{prefix}{value.upper()}"
    inner = field.message_type
    if inner is None or isinstance(value, str):
        return value
    if inner.GetOptions().map_entry:
        return {key: {"values": one if isinstance(one, list) else [one]} for key, one in value.items()}
    if isinstance(value, list):
        return [_as_message(inner, one) for one in value]
    return _as_message(inner, value)


def _flat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Take a row out of its message, and call the rows of a list results."""
    flat: dict[str, Any] = {}
    for name, value in body.items():
        is_row = isinstance(value, dict) and name in {"batch", "failure", "operation", "schedule", "task"}
        flat |= value if is_row else {name: value}
        if isinstance(value, list) and value and isinstance(value[0], dict):
            flat.setdefault("results", value)
    return flat


CALLS: Mapping[str, Any] = {"rest": at_rest, "grpc": at_grpc}
