"""What JSON Callboard takes: bounded in size and depth, and free of what PostgreSQL or another reader cannot hold."""

import json
import math
from collections.abc import Iterator
from typing import Any

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
    fault = next(_faults(value, field=field, max_depth=max_depth), None)
    if fault is not None:
        return [fault]
    size = len(encode(value))
    if size > max_bytes:
        return [FieldError(field, "too_large", f"expected at most {max_bytes} bytes of JSON, got {size}")]
    return []


def encode(value: Any) -> bytes:
    """Encode a value as compact UTF-8 JSON.

    Raises:
        TypeError, ValueError, RecursionError: it is not JSON.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "strict")


def _faults(value: Any, *, field: str, max_depth: int) -> Iterator[FieldError]:
    # A stack of our own: recursion on hostile depth would end in RecursionError.
    stack: list[tuple[Any, str, int]] = [(value, field, 0)]
    while stack:
        item, path, depth = stack.pop()
        if isinstance(item, dict | list | tuple):
            if depth >= max_depth:
                yield FieldError(path[:200], "too_deep", f"expected at most {max_depth} nested levels")
                return
            if isinstance(item, dict):
                for key in item:
                    yield from _key_faults(key, path)
                stack.extend((child, f"{path}.{key}", depth + 1) for key, child in item.items())
            else:
                stack.extend((child, f"{path}.{index}", depth + 1) for index, child in enumerate(item))
        else:
            yield from _scalar_faults(item, path)


def _key_faults(key: Any, path: str) -> Iterator[FieldError]:
    if not isinstance(key, str):
        yield FieldError(path, "not_json", f"expected text as the key of an object, got {type(key).__name__}")
    elif len(key) > LONGEST_KEY:
        yield FieldError(path, "too_long", f"expected keys of at most {LONGEST_KEY} characters, got {len(key)}")
    else:
        yield from _text_faults(key, path)


def _scalar_faults(item: Any, path: str) -> Iterator[FieldError]:
    if isinstance(item, str):
        yield from _text_faults(item, path)
    elif isinstance(item, bool) or item is None:
        return
    elif isinstance(item, int):
        if not -LARGEST_INTEGER <= item < LARGEST_INTEGER:
            yield FieldError(path, "out_of_range", "expected a whole number of at most 64 bits")
    elif isinstance(item, float):
        if not math.isfinite(item):
            yield FieldError(path, "out_of_range", f"expected a finite number, got {item}")
    else:
        yield FieldError(path, "not_json", f"expected a JSON value, got {type(item).__name__}")


def _text_faults(text: str, path: str) -> Iterator[FieldError]:
    if "\0" in text:
        yield FieldError(path.replace("\0", "\\0"), "bad_text", "expected text without NUL characters")
    elif any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else False:
        yield FieldError(path.encode("utf-8", "replace").decode(), "bad_text", "expected text without lone surrogates")
