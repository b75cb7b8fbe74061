"""Two JSON values beside each other: their leaves by path, and which of them differ."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from tasks.masking import MASK

#: Leaves of each value that are compared.
MOST_LEAVES = 5_000
SAME, CHANGED, MISSING, MASKED = "same", "changed", "missing", "masked"

#: Names and places; dotted text would be the same for {"a.b": 1} and {"a": {"b": 1}}, and for a list and its places.
_Path = tuple[str | int, ...]


class Difference(NamedTuple):
    """A path that at least one of the values has.

    Parameters:
        path: dotted, as in ``items.0.sku``.
        first: the JSON of the leaf; None if this value has none there.
        kind: ``masked``: both hold a secret, and nothing tells whether it is the same.
    """

    path: str
    first: str | None
    second: str | None
    kind: str


class Comparison(NamedTuple):
    """The leaves of two values, in the order of the first; ``is_cut`` if one has more than were compared."""

    rows: list[Difference]
    is_cut: bool


def compare(first: Any, second: Any) -> Comparison:
    """Compare two JSON values leaf by leaf; 1 and 1.0 differ, and so do a text and a number."""
    left, right = (dict(islice(_leaves(value, ()), MOST_LEAVES + 1)) for value in (first, second))
    is_cut = max(len(left), len(right)) > MOST_LEAVES
    paths = list(dict.fromkeys([*left, *right]))[:MOST_LEAVES]
    return Comparison([_row(path, left.get(path), right.get(path)) for path in paths], is_cut)


def _row(path: _Path, first: str | None, second: str | None) -> Difference:
    if first is None or second is None:
        kind = MISSING
    elif first != second:
        kind = CHANGED
    else:
        kind = MASKED if MASK in first else SAME
    return Difference(".".join(map(str, path)), first, second, kind)


def _leaves(value: Any, path: _Path) -> Iterator[tuple[_Path, str]]:
    if isinstance(value, dict | list) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            yield from _leaves(item, (*path, key))
    else:
        yield path, json.dumps(value, ensure_ascii=False)
