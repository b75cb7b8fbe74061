"""Search keys: what a task is looked up by, in one index: its tags, actor, queue and trace id.

One GIN index answers each of them and all together. An index for each would cost every task many more insertions.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.fields.array import ArrayContains, ArrayOverlap  # type: ignore[attr-defined]
from django.db.models import CharField, Func, Q, Value

_KEYS: Any = ArrayField(CharField())


class SearchKeys(Func):
    """The array of a task's keys, as the index has it; see ``key``."""

    output_field = _KEYS

    def __init__(self, *columns: Any, **extra: Any) -> None:
        super().__init__(*(columns or ("tags", "actor", "queue", "trace_id")), **extra)

    def as_sql(self, compiler: Any, *_: Any, **__: Any) -> Any:
        """Write the expression; the index is used for exactly this text."""
        tags, actor, queue, trace_id = (compiler.compile(column)[0] for column in self.source_expressions)
        prefixed = f"'actor:' || {actor}, 'queue:' || {queue}, 'trace_id:' || {trace_id}"
        return f"({tags} || ARRAY[{prefixed}]::varchar[])", []


def key(column: str, value: str) -> str:
    """Write the key of a column's value; a tag is its own key, so that a key may also be the tag of another task."""
    return f"{column}:{value}"


def has_keys(keys: Sequence[str]) -> Q:
    """Say that a task has all of these keys."""
    return Q(ArrayContains(SearchKeys(), Value(list(keys), output_field=_KEYS)))


def has_any_key(keys: Sequence[str]) -> Q:
    """Say that a task has one of these keys."""
    return Q(ArrayOverlap(SearchKeys(), Value(list(keys), output_field=_KEYS)))
