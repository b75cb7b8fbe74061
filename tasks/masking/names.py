"""Secret names: ``password``, ``X-Api-Key``, ``dbPassword``, and what an operator adds by ``SECRET_FIELDS``."""

import re
import unicodedata
from functools import lru_cache
from typing import Any

from tasks.conf import conf

#: Kinds of keys that are secret; a public, primary or idempotency key is not.
_KEYS = (
    "access|account|aes|api|auth|client|consumer|deploy|encryption|gpg|hmac|license|master|pgp|private|rsa|secret|"
    "service|session|shared|signing|ssh|ssl|storage|subscription|tls|webhook"
)
_ACCOUNTS = "admin|db|database|email|ftp|login|mail|mysql|new|old|pg|postgres|proxy|redis|root|smtp|ssh|user"
#: Searched in a name in lower case whose words are joined by underscores.
_SECRET = re.compile(
    rf"""
      passw|pass_word|pass_?phrase|pass_?code|pwd|^pass$|(?<![a-z])(?:{_ACCOUNTS})_?pass$
    | secret(?!ar|ion|ly) | (?<!page_)(?<!continuation_)token(?!i[sz]) | (?:{_KEYS})_?keys?(?![a-z])
    | credential|(?<![a-z])creds?(?![a-z])
    | authorization | (?<![a-z])o?auth$ | (?<![a-z])auth_(?:code|data|header|string|value)
    | cookie | (?<![a-z])sessions?(?![a-z]) | sess(?:ion)?_?id(?![a-z])
    | jwt | bearer(?!s) | (?<![a-z])(?:t?otp|dsn|[cx]srf)(?![a-z]) | conn(?:ection)?_?str(?:ing)?(?![a-z])
    """,
    re.VERBOSE,
)
#: Ends of names that tell something about a secret: ``token_count``, ``password_changed_at``, ``token_url``.
_ABOUT = re.compile(
    r"_(?:age|at|budget|counts?|date|enabled|expir(?:es|y|ed|ation)|expires_in|file|filename|index|kind|length|limit|"
    r"minutes|name|path|policy|required|seconds|size|strength|time|total|ttl|type|usage|used|version)$"
    r"|(?:token|authorization)_(?:endpoint|ur[il])$"
)
#: Names whose numbers are counts: ``tokens``, ``max_tokens``.
_COUNT = re.compile(r"(?:cookies|keys|passwords|secrets|sessions|tokens)$|^(?:count|max|min|n|num|number|total)_")
_BETWEEN_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+")
#: Longer keys do not name anything.
_LONGEST_NAME = 255


def is_secret(name: str) -> bool:
    """Tell whether a name is that of a secret, whatever its case and separators."""
    return len(name) <= _LONGEST_NAME and _is_secret(name, added())


def is_harmless(name: str, value: Any) -> bool:
    """Tell whether a value under a secret name gives nothing away: null, true, false, a count, or what is empty."""
    if value is None or isinstance(value, bool) or (isinstance(value, str | list | dict) and not value):
        return True
    return isinstance(value, int | float) and _COUNT.search(_joined(name)) is not None


def added() -> tuple[str, ...]:
    """List the names that an operator has added."""
    return tuple(conf.SECRET_FIELDS)


def words_of(name: str) -> list[str]:
    """Split a name into its words, in lower case."""
    return _joined(name).split("_")


@lru_cache(maxsize=4096)
def _is_secret(name: str, added: tuple[str, ...]) -> bool:
    words = _joined(name)
    if added and _any_of(added).search(words):
        return True
    return _SECRET.search(words) is not None and _ABOUT.search(words) is None


def _joined(name: str) -> str:
    """Write a name in lower case with its words joined by underscores."""
    return _BETWEEN_WORDS.sub("_", unicodedata.normalize("NFKC", name)).strip("_").casefold()


@lru_cache(maxsize=8)
def _any_of(added: tuple[str, ...]) -> re.Pattern[str]:
    """Match the added names, as whole words."""
    names = "|".join("_?".join(map(re.escape, words_of(one))) for one in added)
    return re.compile(rf"(?<![^\W_])(?:{names})(?![^\W_])")
