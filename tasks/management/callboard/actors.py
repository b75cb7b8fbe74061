"""``callboard actors``: list what can be submitted."""

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from tasks import registry
from tasks.contract.actors import actor_as_dict
from tasks.management.callboard import parsing
from tasks.management.callboard.output import WIDE, Column, Output

_LIST = (
    Column("NAME", "name", wraps=True),
    Column("QUEUE", "queue", wraps=True),
    Column("PRIORITY", "defaults.priority", is_number=True),
    Column("PARAMETERS", "parameters", wraps=True),
    Column("DESCRIPTION", "description", wraps=True, from_width=WIDE),
)


def register(commands: parsing.Commands) -> None:
    """Add the command."""
    nouns = parsing.add_noun(
        commands, "actors", help="list what can be submitted", examples=["actors list", "actors list --json"]
    )
    parsing.add_command(
        nouns, "list", list_actors,
        help="list actors with their queue, default priority and parameters, those that are closed to the API too",
        examples=["actors list", "actors list --json"],
    )  # fmt: skip


def list_actors(_: Namespace, out: Output) -> None:
    """List the declared actors."""
    found = [actor_as_dict(spec, caller=None) for spec in registry.all_specs()]
    if not out.is_json:
        found = [{**actor, "parameters": _signature(actor["payload_schema"])} for actor in found]
    out.rows(found, _LIST)


def _signature(schema: Mapping[str, Any]) -> str:
    """Write the parameters of a JSON Schema as Python does.

    >>> _signature({"properties": {"to": {"type": "string"}, "times": {"type": "integer", "default": 1}}})
    'to: string, times: integer = 1'
    """
    parameters = [f"{name}{_type(one)}{_default(one)}" for name, one in schema.get("properties", {}).items()]
    return ", ".join([*parameters, *(["…"] if schema.get("additionalProperties") else [])])


def _default(schema: Mapping[str, Any]) -> str:
    return f" = {json.dumps(schema['default'], ensure_ascii=False)}" if "default" in schema else ""


def _type(schema: Mapping[str, Any]) -> str:
    """Write the type of one value; "" if it may be anything or has no simple type."""
    several = schema.get("anyOf") or [schema]
    names = [one.get("type") or one.get("$ref", "").rpartition("/")[2] for one in several]
    return f": {' | '.join(names)}" if all(isinstance(name, str) and name for name in names) else ""
