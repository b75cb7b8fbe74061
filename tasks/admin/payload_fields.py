"""Form fields made of JSON Schema and of the declared fields of a task; what is left blank is left out."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from django import forms
from django.forms.fields import InvalidJSONInput
from django.utils import timezone

from tasks.admin.formatting import editable_json, escape_invisible, shortened
from tasks.contract.strict_json import decoded
from tasks.errors import CallboardError
from tasks.registry import ActorSpec
from tasks.submission import (
    FIELDS,
    BatchId,
    Dependencies,
    Moment,
    Priority,
    Seconds,
    Tags,
    TaskField,
    Text,
    UniqueRule,
    WholeNumber,
)

#: Payload fields are named ``payload.<argument>``, as errors name them.
PREFIX = "payload."
MAX_DEFAULT_LENGTH = 60
#: A JSON Schema, or a part of one.
Schema = Mapping[str, Any]


class JsonField(forms.JSONField):
    """JSON in a text box, read as strictly as the API reads it; blank is no value, whereas null, [] and {} are some."""

    empty_values = ("",)

    def __init__(self, *, rows: int = 8, **options: Any) -> None:
        super().__init__(widget=forms.Textarea(attrs={"rows": rows, "spellcheck": "false"}), **options)

    def to_python(self, value: Any) -> Any:
        """Decode it; Django's own decoder fails on deep nesting and long numbers, and takes NaN and duplicate names.

        Raises:
            ValidationError: it is not JSON, or larger than a request may be.
        """
        if value in (None, ""):
            return ""
        try:
            return decoded(value.encode(), what="the text")
        except CallboardError as error:
            raise forms.ValidationError(f"Enter a valid JSON value: {error.detail}.") from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Show typed text again as it was typed."""
        return data if data is None else InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        """Write an initial value as indented JSON."""
        return value if value is None or isinstance(value, InvalidJSONInput) else editable_json(value)


class LinesField(forms.CharField):
    """Text with LF as its line breaks: browsers send them as CR LF."""

    widget = forms.Textarea(attrs={"rows": 2})

    def to_python(self, value: Any) -> Any:
        """Write line breaks as LF."""
        return super().to_python("\n".join(re.split("\r\n?", value)) if isinstance(value, str) else value)


def payload_fields(schema: Schema, *, taken: Mapping[str, Any] | None = None) -> dict[str, forms.Field]:
    """Make a field for each argument; none if only JSON can say what the payload is.

    Parameters:
        schema: of an actor's payload.
        taken: the payload of another task, with which the fields are filled.
    """
    properties: Schema = schema.get("properties", {})
    required, definitions = schema.get("required", ()), schema.get("$defs", {})
    made = {
        name: _argument(name, _resolved(one, definitions), is_required=name in required)
        for name, one in properties.items()
    }
    if not all(name in made and _fill(made[name], value) for name, value in (taken or {}).items()):
        return {}
    return {f"{PREFIX}{name}": field for name, field in made.items()}


def _fill(field: forms.Field, value: Any) -> bool:
    """Set the initial value; tell whether a browser sends the same value back."""
    field.initial = json.dumps(value) if isinstance(field, forms.TypedChoiceField) else value
    text = str(field.prepare_value(field.initial))
    try:
        return text != "" and bool(field.clean(text) == value)
    except forms.ValidationError:
        return False


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """Follow a reference, and take the type out of "this type or null": a blank field stands for null."""
    if "$ref" in schema:
        return {**_resolved(definitions.get(schema["$ref"].rpartition("/")[2], {}), {}), **_notes(schema)}
    some = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(some) == 1:
        return {**_resolved(some[0], definitions), **_notes(schema)}
    return schema


def _notes(schema: Schema) -> Schema:
    return {name: schema[name] for name in ("default", "description") if name in schema}


def _argument(name: str, schema: Schema, *, is_required: bool) -> forms.Field:
    make = _TYPES.get(schema.get("type", ""), _json)
    if "enum" in schema:
        make = _choice
    shown = json.dumps(schema.get("default"), ensure_ascii=False)
    default = f"Default: {shortened(shown, MAX_DEFAULT_LENGTH)}." if "default" in schema else ""
    hints = [str(schema.get("description", "")), str(schema.get("format", "")), default]
    help_text = " ".join(filter(None, map(escape_invisible, hints)))
    return make(schema, {"label": escape_invisible(name), "help_text": help_text, "required": is_required})


def _text(schema: Schema, options: Mapping[str, Any]) -> forms.Field:
    return LinesField(strip=False, max_length=schema.get("maxLength"), min_length=schema.get("minLength"), **options)


def _integer(schema: Schema, options: Mapping[str, Any]) -> forms.Field:
    return forms.IntegerField(min_value=schema.get("minimum"), max_value=schema.get("maximum"), **options)


def _number(schema: Schema, options: Mapping[str, Any]) -> forms.Field:
    widget = forms.NumberInput(attrs={"step": "any"})
    return forms.FloatField(min_value=schema.get("minimum"), max_value=schema.get("maximum"), widget=widget, **options)


def _choice(schema: Schema, options: Mapping[str, Any]) -> forms.Field:
    values = schema.get("enum", [True, False])
    shown = [(json.dumps(one), escape_invisible(one if isinstance(one, str) else json.dumps(one))) for one in values]
    return forms.TypedChoiceField(choices=[("", "–"), *shown], coerce=json.loads, empty_value=None, **options)


def _json(_schema: Schema, options: Mapping[str, Any]) -> forms.Field:
    return JsonField(rows=3, **{**options, "help_text": f"{options['help_text']} As JSON.".strip()})


_TYPES: Mapping[Any, Callable[[Schema, Mapping[str, Any]], forms.Field]] = {
    "string": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _choice,
}


def option_fields(spec: ActorSpec) -> dict[str, forms.Field]:
    """Make a field for each declared field of a task beside its payload, with the actor's value as a hint."""
    made = {name: _option(one) for name, one in FIELDS.items()}
    for name, field in made.items():
        option = FIELDS[name].actor_option
        if field is not None and option and (default := getattr(spec, option)) is not None:
            field.widget.attrs["placeholder"] = f"{default:g}" if isinstance(default, float) else str(default)
    return {name: field for name, field in made.items() if field is not None}


def _option(declared: TaskField) -> forms.Field | None:
    options: dict[str, Any] = {"required": False, "help_text": declared.help}
    match declared.kind:
        case Text(longest) if declared.name != "actor":
            return forms.CharField(max_length=longest, **options)
        case Priority(lowest, highest):
            return forms.IntegerField(min_value=lowest, max_value=highest, **options)
        case Seconds():
            return forms.FloatField(min_value=0, widget=forms.NumberInput(attrs={"step": "any"}), **options)
        case WholeNumber(highest):
            return forms.IntegerField(min_value=0, max_value=highest, **options)
        case Tags():
            return forms.CharField(**{**options, "help_text": f"{declared.help} Separated by commas."})
        case Moment():
            hint = f"{declared.help} In the zone {timezone.get_current_timezone_name()}."
            widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")
            return forms.DateTimeField(widget=widget, **{**options, "help_text": hint})
        case Dependencies() | UniqueRule():
            return JsonField(rows=3, **{**options, "help_text": f"{declared.help} As JSON."})
        case BatchId():
            return forms.CharField(max_length=36, **options)
    return None
