"""Masking: what is a secret, and what stands in its place at every door and in every log line.

A name tells of a secret (``password``, ``X-Api-Key``, ``dbPassword``), and so does the form of a text (``Bearer …``,
``scheme://user:password@host``, a JWT, a private key). All doors, the logs and the fingerprints of dead letters read
the one rule here. It hides too much rather than too little: what was shown cannot be taken back.

Texts are hostile. A pattern begins with a letter to search for and repeats without backtracking, so a text takes time
in proportion to its length. Patterns see a text in lower case, which is much faster than to ignore case.
"""

import base64
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

from tasks.conf import conf

MASK = "********"

# --- Names ------------------------------------------------------------------------------------------------------

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
#: The names of the two halves of a pair that is written as an object, such as a header or an environment variable.
_NAMES, _VALUES = frozenset({"name", "key", "header", "field", "variable"}), frozenset({"value", "val", "content"})

# --- Texts ------------------------------------------------------------------------------------------------------

#: A text without any of these holds no secret, apart from those under the names in ``SECRET_FIELDS``.
_NAME_HINTS = (
    *("pass", "pwd", "secret", "token", "key", "cred", "auth", "cookie", "sess", "jwt", "bearer", "otp", "dsn", "srf"),
    "conn",
)
_ISSUED_HINTS = ("eyj", "cb_", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xox", "sk-", "k_live_", "sig=")
_HINTS = (*_NAME_HINTS, *_ISSUED_HINTS, "://", "basic")

_PRIVATE_KEY = re.compile(r"-----begin [a-z0-9 ]{0,40}private key[a-z ]{0,10}-----")
#: After a name, up to where its value starts: ``name=``, ``"name": ``, ``'name', '``, ``<name>``, ``name%3D``.
_ASSIGNED = r"""[\w-]{0,40}+
    (?: \\*["'`]?\]?\s{0,3}(?:=(?!=)>?|:(?!//)=?|(?:%2[27])?%3[ad](?:%2[27])?)\s{0,3}
      | \\*["'`],\s{0,3}(?=[bru]{0,2}\\*["'`])
      | >(?=[^<>=\s])
    )"""
#: A plain "key" is none; "api key" may be.
_NAMES_IN_TEXT = (
    "p(?:ass|wd)|se(?:cret|ss)|token|key(?<=[ _a-z0-9-]key)|c(?:red|ookie|srf|onn)|auth|jwt|bearer|otp|dsn|xsrf"
)
_OPTION = re.compile(r"--(?<![\w-]--)[a-z][\w-]{0,60}+[ \t]{1,3}(?=[^\s-])")
_START_OF_NAME = re.compile(r"[\w-]*\Z")
_WORD_BEFORE = re.compile(r"[a-z]{1,20} \Z", re.IGNORECASE)
_LONGEST_BEFORE = 64
_OPENING = re.compile(r"[bru]{0,2}(\\{0,8})([\"'`])", re.IGNORECASE)
_NOTHING = re.compile(r"(?:none|null|true|false)\b", re.IGNORECASE)
_REST_OF_LINE = re.compile(r"[^\n]*+")
#: A header's line ends inside of a quoted text where ``\r\n`` is written.
_REST_OF_HEADER = re.compile(r"(?:(?!\\[rn])[^\r\n])*+")
_HEADERS = ("authorization", "cookie")
_PLAIN = re.compile(
    r"(?:(?:bearer|basic|digest|token|negotiate|apikey)[ ]{1,3})?+[^\s&;\"'<>`]*[^\s&;\"'<>`),.\]}]", re.IGNORECASE
)
#: ``user:password@``, or a long user name that is alone, as tokens are given; a port is no password.
_LOGIN = re.compile(
    r"""://(?:(?P<user>[^\s"<>`/?\#@:]*+:)(?!\d{1,5}(?:[\s/?\#"'<>,;.)\]}]|\Z))|(?P<lone>[^\s"<>`/?\#@:]{16,}+)@)""",
    re.VERBOSE,
)
_AUTHORITY = re.compile(r"[^\s\"<>`/?#]*+")
#: A password may have a slash in it.
_UP_TO_AT = re.compile(r"[^\s\"<>`@]{0,512}+(?=@)")
_BEARER = re.compile(
    r"bearer(?<![\w-]bearer)\s{1,3}"
    r"(?!(?:and|auth\w*|credentials?|header|in|is|of|or|scheme|tokens?|was)\b)(?P<secret>[\w.~+/=-]++)"
)
_BASIC = re.compile(r"basic(?<![\w-]basic)\s{1,3}(?P<secret>[\w+/-]{4,}+={0,2})")
#: Texts that are known by the form that their issuer gives them: JWTs, our own tokens and those of well-known services.
_ISSUED = re.compile(
    r"""(?P<secret>
        eyj(?<![\w-]eyj)[\w-]{6,}+\.[\w.-]++ | cb_(?<![\w-]cb_)[\w-]{20,}+ | gh[ops]_(?<![\w-]....)\w{20,}+
      | github_pat_\w{20,}+ | glpat-[\w-]{15,}+ | xox[a-z]-[\w-]{10,}+ | sk-(?<![\w-]sk-)[\w-]{20,}+
      | [rs]k_live_\w{10,}+ | (?<=[?&]sig=)[^\s&"'<>]++
    )""",
    re.VERBOSE,
)
#: A text with more candidates than this is hidden from there on.
_MOST_FOUND = 2_000

#: Shorter secrets are not looked for elsewhere: they would be found in ordinary words.
_SHORTEST_KNOWN = 4
#: With more known secrets than this a text is masked as a whole.
_MOST_KNOWN = 100


class _How(NamedTuple):
    """How a value is masked: what writes the mask, and the hints that are somewhere in it."""

    hide: Callable[[Any], str]
    hints: Sequence[str]


def is_secret(name: str) -> bool:
    """Tell whether a name is that of a secret, whatever its case and separators."""
    return len(name) <= _LONGEST_NAME and _is_secret(name, _more())


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
    if hints := _hints_in(text):
        value = _masked(value, _How(_mask, hints))
    return _without_known(value, known) if any(one in text for one in known) else value


def masked_text(text: str, *, known: Collection[str] = ()) -> str:
    """Copy a text with ``MASK`` in the place of each secret that its form or a name before it gives away.

    Parameters:
        known: further texts that are secret wherever they stand, see ``secrets_of``.
    """
    if known:
        text = _without_known(text, known)
    hints = _hints_in(text)
    return _masked_text(text, _How(_mask, hints)) if hints else text


def may_hold_secret(text: str, *, known: Collection[str] = ()) -> bool:
    """Look quickly whether a text may have something to mask; most have not."""
    return bool(_hints_in(text)) or any(one in text for one in known)


def masked_with_secrets(value: Any) -> tuple[Any, frozenset[str]]:
    """Mask a JSON value, and list what was masked as it, its ``repr()``, JSON and an address would write it.

    An error may quote a secret without its name: "cannot log in with hunter2".
    """
    hints = _hints_in(json.dumps(value, ensure_ascii=False, default=repr))
    if not hints:
        return value, frozenset()
    hidden: list[Any] = []

    def collect(one: Any) -> str:
        hidden.append(one)
        return MASK

    found = _masked(value, _How(collect, hints))
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


def _hints_in(text: str, hints: Sequence[str] | None = None) -> list[str]:
    lowered = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return list(filter(lowered.__contains__, _all_hints() if hints is None else hints))


def _all_hints() -> Sequence[str]:
    return (*_HINTS, *_hints_of(_more()))


def _more() -> tuple[str, ...]:
    return tuple(conf.SECRET_FIELDS)


# --- Names ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _is_secret(name: str, more: tuple[str, ...]) -> bool:
    words = _words(name)
    if more and _any_of(more).search(words):
        return True
    return _SECRET.search(words) is not None and _ABOUT.search(words) is None


def _words(name: str) -> str:
    """Write a name in lower case with its words joined by underscores."""
    return _BETWEEN_WORDS.sub("_", unicodedata.normalize("NFKC", name)).strip("_").casefold()


@lru_cache(maxsize=8)
def _any_of(more: tuple[str, ...]) -> re.Pattern[str]:
    """Match the names that an operator has added, as whole words."""
    names = "|".join("_?".join(map(re.escape, _words(one).split("_"))) for one in more)
    return re.compile(rf"(?<![^\W_])(?:{names})(?![^\W_])")


@lru_cache(maxsize=8)
def _hints_of(more: tuple[str, ...]) -> list[str]:
    return [_words(one).partition("_")[0] for one in more]


def _is_open(name: str, value: Any) -> bool:
    """Tell whether a value under a secret name gives nothing away: nothing, a truth, or a count."""
    if value is None or isinstance(value, bool) or (isinstance(value, str | list | dict) and not value):
        return True
    return isinstance(value, int | float) and _COUNT.search(_words(name)) is not None


# --- Values -----------------------------------------------------------------------------------------------------


def _masked(value: Any, how: _How) -> Any:
    if isinstance(value, str):
        hints = _hints_in(value, how.hints)
        return _masked_text(value, _How(how.hide, hints)) if hints else value
    if isinstance(value, dict):
        return _masked_object(value, how)
    if isinstance(value, list | tuple):
        return _masked_list(value, how)
    return value if value is None or isinstance(value, int | float) else _masked(repr(value), how)


def _under(name: str, value: Any, how: _How) -> Any:
    """Mask the value that stands under a name."""
    return how.hide(value) if is_secret(name) and not _is_open(name, value) else _masked(value, how)


def _masked_object(value: dict[Any, Any], how: _How) -> dict[Any, Any]:
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


def _masked_list(value: Sequence[Any], how: _How) -> list[Any]:
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


# --- Known secrets ----------------------------------------------------------------------------------------------


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


# --- Texts ------------------------------------------------------------------------------------------------------


def _masked_text(text: str, how: _How) -> str:
    hints = frozenset(how.hints)
    for wanted, pattern, stretch in _RULES:
        if not hints.isdisjoint(wanted):
            text = _without(text, pattern, stretch, how)
    if not hints.isdisjoint((*_NAME_HINTS, *_hints_of(_more()))):
        text = _without(text, _assignment(_more()), _assigned, how)
        text = _without(text, _OPTION, _option, how)
    return text


def _lowered(text: str) -> str:
    """Write a text in lower case at the same length: only U+0130 becomes two characters."""
    return text.replace("\u0130", "i").lower()


_Stretch = tuple[int, int]
_NONE: _Stretch = (0, 0)


def _without(text: str, pattern: re.Pattern[str], stretch: Callable[[str, re.Match[str]], _Stretch], how: _How) -> str:
    """Hide a stretch of the text for each match of a pattern, which sees the text in lower case."""
    lowered = _lowered(text)
    parts: list[str] = []
    kept = done = 0
    for _ in range(_MOST_FOUND):
        found = pattern.search(lowered, done)
        if not found:
            return "".join([*parts, text[kept:]])
        start, end = stretch(text, found)
        if start < end:
            parts += [text[kept:start], how.hide(text[start:end])]
            kept = end
        done = max(found.end(), end)
    return "".join([*parts, text[kept:done], how.hide(text[done:])])


def _secret(_text: str, found: re.Match[str]) -> _Stretch:
    return found.span("secret")


def _to_end_of_key(text: str, found: re.Match[str]) -> _Stretch:
    end = text.find("-----END ", found.end())
    return found.end(), end if end >= 0 else len(text)


@lru_cache(maxsize=8)
def _assignment(more: tuple[str, ...]) -> re.Pattern[str]:
    names = "|".join([_NAMES_IN_TEXT, *(r"[\W_]?".join(map(re.escape, _words(one).split("_"))) for one in more)])
    return re.compile(f"(?:{names}){_ASSIGNED}", re.VERBOSE)


def _assigned(text: str, found: re.Match[str]) -> _Stretch:
    """Find the value of a secret name."""
    before = text[max(0, found.start() - _LONGEST_BEFORE) : found.start()]
    start = _START_OF_NAME.search(before)[0]  # type: ignore[index]
    if not start and found[0].startswith("key") and (word := _WORD_BEFORE.search(before)):
        start = word[0]
    name = f"{start}{_RUN.match(text, found.start())[0]}"  # type: ignore[index]
    return _value(text, found.end(), name) if is_secret(name) else _NONE


_RUN = re.compile(r"[\w-]*+")


def _option(text: str, found: re.Match[str]) -> _Stretch:
    name = text[found.start() : found.end()].strip()
    return _value(text, found.end(), name) if is_secret(name) else _NONE


def _value(text: str, start: int, name: str) -> _Stretch:
    if opening := _OPENING.match(text, start):
        return _body(opening[1], opening[2]).match(text, opening.end()).span()  # type: ignore[union-attr]
    if _NOTHING.match(text, start):
        return _NONE
    if text[start : start + 1] in ("[", "{", "("):
        pattern = _REST_OF_LINE
    else:
        is_header = name.lower().endswith(_HEADERS) and ":" in text[start - 2 : start]
        pattern = _REST_OF_HEADER if is_header else _PLAIN
    found = pattern.match(text, start)
    return _NONE if not found or (found[0].isdecimal() and _is_open(name, 0)) else found.span()


@lru_cache(maxsize=64)
def _body(escape: str, mark: str) -> re.Pattern[str]:
    """Match a quoted text up to its closing mark; in a text within a text both marks have backslashes before them."""
    if escape:
        return re.compile(rf"(?:(?!(?<!\\){re.escape(escape + mark)})[^\n])*+")
    return re.compile(rf"(?:\\.|[^{mark}\\\n])*+")


def _password(text: str, found: re.Match[str]) -> _Stretch:
    if found["lone"]:
        return found.span("lone")
    start = found.end()
    at = _AUTHORITY.match(text, start)[0].rfind("@")  # type: ignore[index]
    if at >= 0:
        return start, start + at
    further = _UP_TO_AT.match(text, start)
    return further.span() if further else _NONE


def _basic(text: str, found: re.Match[str]) -> _Stretch:
    """Hide ``user:password`` in base64, and not just a word after "basic"."""
    start, end = found.span("secret")
    word = text[start:end].rstrip("=").replace("+", "-").replace("/", "_")
    return (start, end) if b":" in base64.urlsafe_b64decode(word[: len(word) // 4 * 4]) else _NONE


#: The hints that a rule needs, its pattern, and what it hides.
_RULES: Sequence[tuple[Collection[str], re.Pattern[str], Callable[[str, re.Match[str]], _Stretch]]] = (
    ({"key"}, _PRIVATE_KEY, _to_end_of_key),
    ({"://"}, _LOGIN, _password),
    ({"bearer"}, _BEARER, _secret),
    ({"basic"}, _BASIC, _basic),
    (_ISSUED_HINTS, _ISSUED, _secret),
)
