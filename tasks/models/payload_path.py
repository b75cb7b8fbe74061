"""Values inside payloads, by a path such as ``user.id``."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.contrib.postgres.fields import ArrayField
from django.db.models import F, Func, Q, TextField, Value
from django.db.models.lookups import Exact


class PayloadValue(NamedTuple):
    """A value at a path of keys and places in lists; text, numbers, true and false are compared as they are written."""

    path: tuple[str, ...]
    text: str


def has_value(wanted: PayloadValue) -> Q:
    """Say that a task has this value in its payload; no index serves it."""
    found: Any = _TextAt(F("payload"), Value(list(wanted.path), output_field=ArrayField(TextField())))
    return Q(Exact(found, Value(wanted.text, output_field=TextField())))


class _TextAt(Func):
    template = "(%(expressions)s)"
    arg_joiner = " #>> "
    output_field = TextField()

    def __init__(self, column: Any, path: Sequence[str] | Value) -> None:
        super().__init__(column, path)
