"""Masking of JSON values and texts, also where they quote a secret that another value gave away."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any
from urllib.parse import quote, quote_plus

from tasks.masking.names import is_harmless, is_secret
from tasks.masking.texts import How, hints_in, without_secrets

MASK = "********"

#: The names of the two halves of a pair that is written as an object, such as a header or an environment variable.
_NAMES, _VALUES = frozenset({"name", "key", "header", "field", "variable"}), frozenset({"value", "val", "content"})

#: Shorter secrets are not looked for elsewhere: they would be found in ordinary words.
_SHORTEST_KNOWN = 4
#: With more known secrets than this a text is masked as a whole.
_MOST_KNOWN = 100


def masked(value: Any, *, known: Collection[str] = ()) -> Any:
    """Copy a JSON value with ``MASK`` in the place of each secret.

    Whatever stands under a secret name is masked as a whole, except null, true, false, counts and what is empty.

    Parameters:
        known: further texts that are secret wherever they stand, see ``secrets_of``.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):
        # Not JSON, so it comes from no payload; a log line may have it.
        return masked_text(repr(value), known=known)
    if hints := hints_in(text):
        value = _masked(value, How(_mask, hints))
    return _without_known(value, known) if any(one in text for one in known) else value


def masked_text(text: str, *, known: Collection[str] = ()) -> str:
    """Copy a text with ``MASK`` in the place of each secret that its form or a name before it gives away.

    Parameters:
        known: further texts that are secret wherever they stand, see ``secrets_of``.
    """
    if known:
        text = _without_known(text, known)
    hints = hints_in(text)
    return without_secrets(text, How(_mask, hints)) if hints else text


def may_hold_secret(text: str, *, known: Collection[str] = ()) -> bool:
    """Look quickly whether a text may have something to mask; most have not."""
    return bool(hints_in(text)) or any(one in text for one in known)


def masked_with_secrets(value: Any) -> tuple[Any, frozenset[str]]:
    """Mask a JSON value, and list what was masked as it, its ``repr()``, JSON and an address would write it.

    An error may quote a secret without its name: "cannot log in with hunter2".
    """
    hints = hints_in(json.dumps(value, ensure_ascii=False, default=repr))
    if not hints:
        return value, frozenset()
    hidden: list[Any] = []

    def collect(one: Any) -> str:
        hidden.append(one)
        return MASK

    found = _masked(value, How(collect, hints))
    texts = {text for one in hidden for text in _texts(one) if len(text) >= _SHORTEST_KNOWN and text != MASK}
    known = frozenset(form for text in texts for form in _forms(text))
    # It may stand a second time under another name.
    is_repeated = any(map(json.dumps(found, ensure_ascii=False).__contains__, known))
    return _without_known(found, known) if is_repeated else found, known


def secrets_of(value: Any) -> frozenset[str]:
    """List the secrets in a JSON value, see ``masked_with_secrets``."""
    return masked_with_secrets(value)[1]


_expected: ContextVar[Callable[[], Collection[str]] | None] = ContextVar("callboard_secrets", default=None)


def expect(call: Callable[[], Any] | None) -> None:
    """Have log lines of this context masked by the secrets of a call too; None ends it.

    Parameters:
        call: returns the arguments by name; called once, by the first log line.
    """
    _expected.set(call and cache(lambda: secrets_of(call())))


def expected() -> Collection[str]:
    """List the secrets that ``expect`` was told of."""
    find = _expected.get()
    return find() if find else ()


def _mask(_value: Any) -> str:
    return MASK


def _masked(value: Any, how: How) -> Any:
    if isinstance(value, str):
        hints = hints_in(value, how.hints)
        return without_secrets(value, How(how.hide, hints)) if hints else value
    if isinstance(value, dict):
        return _masked_object(value, how)
    if isinstance(value, list | tuple):
        return _masked_list(value, how)
    return value if value is None or isinstance(value, int | float) else _masked(repr(value), how)


def _under(name: str, value: Any, how: How) -> Any:
    """Mask the value that stands under a name."""
    return how.hide(value) if is_secret(name) and not is_harmless(name, value) else _masked(value, how)


def _masked_object(value: dict[Any, Any], how: How) -> dict[Any, Any]:
    label = next((one for key, one in value.items() if str(key).lower() in _NAMES and isinstance(one, str)), "")
    found: dict[Any, Any] = {}
    for key, item in value.items():
        name = _masked(key, how) if isinstance(key, str) else key
        while name in found:
            # Two addresses may differ in their passwords only.
            name = f"{name}*"
        is_second_half = label and str(key).lower() in _VALUES
        found[name] = _under(label if is_second_half and is_secret(label) else str(key), item, how)
    return found


def _masked_list(value: Sequence[Any], how: How) -> list[Any]:
    if len(value) == 2 and isinstance(value[0], str) and is_secret(value[0]):
        return [value[0], _under(value[0], value[1], how)]
    found: list[Any] = []
    before: Any = None
    for item in value:
        # A command line gives a value after its option.
        is_given = isinstance(before, str) and before.startswith("-") and "=" not in before
        found.append(_under(before, item, how) if is_given else _masked(item, how))
        before = item
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _forms(text: str) -> set[str]:
    return {text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1],
            quote(text, safe="", errors="replace"), quote_plus(text, errors="replace")}  # fmt: skip


def _without_known(value: Any, known: Collection[str]) -> Any:
    if isinstance(value, str):
        if len(known) > _MOST_KNOWN:
            return MASK
        # The longest first: one may be a part of another.
        for one in sorted(known, key=len, reverse=True):
            value = value.replace(one, MASK)
        return value
    if isinstance(value, dict):
        return {_without_known(key, known): _without_known(item, known) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_known(item, known) for item in value]
    return MASK if isinstance(value, int | float) and str(value) in known else value
