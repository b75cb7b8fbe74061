"""The JSON that Callboard accepts: bounded in size and depth, without values that PostgreSQL or others refuse."""

import json
import marshal
import math
from collections.abc import Iterator
from typing import Any

from tasks.db.json_text import with_plain_floats
from tasks.errors import FieldError

#: Integers beyond 64 bits are refused: most readers of JSON would silently round them.
LARGEST_INTEGER = 2**63
LONGEST_KEY = 255


def check_json(value: Any, *, field: str, max_bytes: int, max_depth: int) -> list[FieldError]:
    """List what makes a decoded JSON value unfit to be stored, the first fault only.

    Parameters:
        field: dotted path that the errors start with.
        max_bytes: of the compact UTF-8 encoding.
        max_depth: of nested arrays and objects; a scalar has depth 0.
    """
    if value is None or (isinstance(value, dict | list | tuple) and not value):
        return []
    # The size first: it is quick to find, and bounds what the slow look at each value has to do.
    size = _size(value)
    if size > max_bytes:
        return [FieldError(field, "too_large", f"expected at most {max_bytes} bytes of JSON, got {size}")]
    fault = next(_faults(value, field=field, max_depth=max_depth), None)
    return [] if fault is None else [fault]


def _size(value: Any) -> int:
    try:
        return len(encode(value))
    except (TypeError, ValueError, RecursionError):
        # No JSON: a value in it is at fault, and gets named for that.
        return 0


def encode(value: Any) -> bytes:
    """Encode a value as compact UTF-8 JSON, floats in the length that is stored.

    Raises:
        TypeError, ValueError, RecursionError: it is not JSON.
    """
    return with_plain_floats(_ENCODER.encode(value)).encode("utf-8", "strict")


def plain_copy(value: Any) -> Any:
    """Copy a JSON value into built-in types, so that writing it later calls no user's code and sees no later change."""
    try:
        # Takes a tenth of the time of JSON. It accepts built-in types only, and none of their subclasses.
        return marshal.loads(marshal.dumps(value))  # noqa: S302 - the bytes come from the line itself
    except ValueError:
        return json.loads(encode(value))


# json.dumps() would make one for each value.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


#: Where a value is: its name or index, and where what holds it is. Written out for a fault only: as texts the paths of
#: a small payload, long keys around a long array, would fill gigabytes.
_Path = tuple[Any, "_Path | None"]

_LONGEST_PATH = 200


def _dotted(path: _Path) -> str:
    names: list[str] = []
    step: _Path | None = path
    while step is not None:
        name, step = step
        names.append(str(name))
    text = ".".join(reversed(names))[:_LONGEST_PATH]
    return text.replace("\0", "\\0").encode("utf-8", "replace").decode()


def _faults(value: Any, *, field: str, max_depth: int) -> Iterator[FieldError]:
    # A stack of our own: recursion on hostile depth would end in RecursionError.
    stack: list[tuple[Any, _Path, int]] = [(value, (field, None), 0)]
    while stack:
        item, path, depth = stack.pop()
        if isinstance(item, dict | list | tuple):
            if depth >= max_depth:
                yield FieldError(_dotted(path), "too_deep", f"expected at most {max_depth} nested levels")
                return
            if isinstance(item, dict):
                for key in item:
                    yield from _key_faults(key, path)
            children = item.items() if isinstance(item, dict) else enumerate(item)
            stack.extend((child, (name, path), depth + 1) for name, child in children)
        else:
            yield from _scalar_faults(item, path)


def _key_faults(key: Any, path: _Path) -> Iterator[FieldError]:
    if not isinstance(key, str):
        message = f"expected text as the key of an object, got {type(key).__name__}"
        yield FieldError(_dotted(path), "not_json", message)
    elif len(key) > LONGEST_KEY:
        message = f"expected keys of at most {LONGEST_KEY} characters, got {len(key)}"
        yield FieldError(_dotted(path), "too_long", message)
    else:
        yield from _text_faults(key, path)


def _scalar_faults(item: Any, path: _Path) -> Iterator[FieldError]:
    if isinstance(item, str):
        yield from _text_faults(item, path)
    elif isinstance(item, bool) or item is None:
        return
    elif isinstance(item, int):
        if not -LARGEST_INTEGER <= item < LARGEST_INTEGER:
            yield FieldError(_dotted(path), "out_of_range", "expected a whole number of at most 64 bits")
    elif isinstance(item, float):
        if not math.isfinite(item):
            yield FieldError(_dotted(path), "out_of_range", f"expected a finite number, got {item}")
    else:
        yield FieldError(_dotted(path), "not_json", f"expected a JSON value, got {type(item).__name__}")


def _text_faults(text: str, path: _Path) -> Iterator[FieldError]:
    if "\0" in text:
        yield FieldError(_dotted(path), "bad_text", "expected text without NUL characters")
    elif any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else False:
        yield FieldError(_dotted(path), "bad_text", "expected text without lone surrogates")


def is_same_json(one: Any, other: Any) -> bool:
    """Compare two JSON values as an actor would: to Python's ``==``, 1, 1.0 and true are the same."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
