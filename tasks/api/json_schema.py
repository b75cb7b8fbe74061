"""The building blocks of JSON Schemas."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """Refer to a schema by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Schema) -> Schema:
    """Allow null as well."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    values = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, **values, "type": [schema["type"], "null"]}


def about(schema: Schema, description: str) -> Schema:
    """Add a description."""
    return {**schema, "description": description}


def array(items: Schema, **more: Any) -> Schema:
    """Describe an array."""
    return {"type": "array", "items": items, **more}


def an_object(properties: Mapping[str, Any], *, optional: Sequence[str] = ()) -> Schema:
    """Describe an object without other properties; all are required unless optional."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


def body(properties: Mapping[str, Any], *, required: Sequence[str] = ()) -> Schema:
    """Describe the body of a request: an object whose properties are optional unless required."""
    schema = an_object(properties, optional=[name for name in properties if name not in required])
    return schema if required else {key: value for key, value in schema.items() if key != "required"}


def change(properties: Mapping[str, Any], *, some_of: Iterable[str]) -> Schema:
    """Describe the body of a change, which has at least one of some properties."""
    return {**body(properties), "anyOf": [{"required": [name]} for name in some_of]}


def text(longest: int) -> Schema:
    """Describe text as ``contract.fields.text`` reads it."""
    return {**TEXT, "minLength": 1, "maxLength": longest, "pattern": r"^[^\u0000\ufffd]*$"}


def enum(values: Any) -> Schema:
    """Describe a choice of values."""
    return {"type": "string", "enum": [str(value) for value in values]}


TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
ID: Schema = {"type": "string", "format": "uuid"}
FINGERPRINT: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
URL: Schema = {"type": "string", "format": "uri"}
TIME: Schema = {"type": "string", "format": "date-time"}
ANYTHING: Schema = {}
ANY_OBJECT: Schema = {"type": "object"}
