"""How lifecycle talks to PostgreSQL: a batch travels as one JSON parameter."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection


def fetch(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


#: Django gives raw statements JSON columns as text.
loads = json.loads


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Encode a batch for ``json_to_recordset``; ids and times as text."""
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"), default=str)
