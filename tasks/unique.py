"""Unique keys: what a submission may ask for, and how an actor's template becomes a key."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from string import Formatter
from typing import Any, Self
from uuid import UUID

from tasks.retry import MOST_SECONDS

LONGEST_KEY = 255
UNTIL = ("started", "finished")
ON_CONFLICT = ("return", "replace", "reject")
#: How long replacements may postpone a task in all, unless the submission says.
MAX_WAIT_SECONDS = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Unique:
    """At most one task of an owner and an actor has the key; raises ValueError if a value is not valid.

    It has the key ``until`` it is claimed (``started``) or has ended (``finished``), and at most ``ttl_seconds`` from
    its submission on. Another submission of the key gets the task back (``return``), gives it new content (``replace``)
    or is refused (``reject``). With ``replace`` the default of ``until`` is ``started``, otherwise ``finished``.
    Replacements move ``run_at`` to at most ``max_wait_seconds`` after the submission of the task.
    """

    key: str
    until: str = ""
    ttl_seconds: float | None = None
    on_conflict: str = "return"
    max_wait_seconds: float | None = None

    def __post_init__(self) -> None:
        _check_key(self.key)
        _check_choice("on_conflict", self.on_conflict, ON_CONFLICT)
        if self.until == "":
            object.__setattr__(self, "until", "started" if self.on_conflict == "replace" else "finished")
        _check_choice("until", self.until, UNTIL)
        for name in ("ttl_seconds", "max_wait_seconds"):
            _check_seconds(name, getattr(self, name))
        if self.max_wait_seconds is not None and self.on_conflict != "replace":
            raise ValueError(f"max_wait_seconds: expected it only with on_conflict replace, got {self.on_conflict}")

    @classmethod
    def read(cls, given: Any) -> Self:
        """Read the key alone, or an object with the fields; null means not given.

        Raises:
            ValueError: says what was expected.
        """
        if isinstance(given, cls):
            return given
        if isinstance(given, str):
            return cls(key=given)
        if not isinstance(given, Mapping):
            raise ValueError(f"expected an object with a key, got {type(given).__name__}")
        names = [field.name for field in fields(cls)]
        if unknown := [name for name in given if name not in names]:
            raise ValueError(f"expected only {', '.join(names)}, got {unknown[0]!r:.100}")
        if given.get("key") is None:
            raise ValueError("key: expected text, got nothing")
        return cls(**{name: value for name, value in given.items() if value is not None})

    def as_rule(self, key: str) -> dict[str, Any]:
        """Give what the row keeps, with the key in place of the template."""
        return {name: value for name, value in asdict(self).items() if value is not None} | {"key": key}


def _check_key(key: Any) -> None:
    if not isinstance(key, str) or not key:
        raise ValueError(f"key: expected text, got {key!r:.100}")
    if len(key) > LONGEST_KEY:
        raise ValueError(f"key: expected at most {LONGEST_KEY} characters, got {len(key)}")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in key):
        raise ValueError("key: expected text without NUL or lone surrogates")


def _check_choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name}: expected {' or '.join(known)}, got {value!r:.100}")


def _check_seconds(name: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Written so that NaN, which compares false with everything, is refused too.
    if value is not None and not (is_number and 0 < value <= MOST_SECONDS):
        raise ValueError(f"{name}: expected seconds above 0 and up to {MOST_SECONDS:.0f}, got {value!r:.100}")


def digest(*, owner_id: Any, actor: str, key: str) -> UUID:
    """Hash a key with its scope: two owners, or two actors, never share one."""
    scope = json.dumps(["" if owner_id is None else str(owner_id), actor, key])
    return UUID(bytes=hashlib.blake2b(scope.encode(), digest_size=16).digest())


# --- Templates of actors ----------------------------------------------------------------------------------------


def check_template(template: str, signature: inspect.Signature) -> None:
    """Check the ``{name}`` fields of an actor's template against its parameters.

    Raises:
        ValueError: says what was expected.
    """
    parameters = signature.parameters.values()
    known = [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    for _, name, spec, conversion in Formatter().parse(template):
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"expected {{name}} of a parameter without more, got {{{name}}} in {template!r:.100}")
        if name not in known and not takes_any:
            raise ValueError(f"expected one of the parameters {', '.join(known)}, got {{{name}}} in {template!r:.100}")


def formatted(template: str, values: Mapping[str, Any]) -> str:
    """Put the arguments of a call into an actor's template.

    Raises:
        ValueError: an argument is missing, or is no text, number, true or false; or the key is empty or too long.
    """
    key = "".join(
        literal + ("" if name is None else _text_of(name, values)) for literal, name, *_ in Formatter().parse(template)
    )
    _check_key(key)
    return key


def _text_of(name: str, values: Mapping[str, Any]) -> str:
    if name not in values:
        raise ValueError(f"expected the argument {name!r}, which the actor's unique key contains")
    value = values[name]
    if not isinstance(value, str | int | float):
        raise ValueError(f"expected {name!r} as text or a number for the unique key, got {type(value).__name__}")
    return str(value)
