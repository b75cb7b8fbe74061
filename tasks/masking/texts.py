"""Secrets in texts: behind a secret name (``password=…``), or by their form (``Bearer …``, a JWT, a private key).

Texts are hostile. A pattern begins with a letter to search for and repeats without backtracking, so a text takes time
in proportion to its length. Patterns see a text in lower case, which is much faster than to ignore case.
"""

import base64
import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from tasks.masking.names import added, is_harmless, is_secret, words_of

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
#: A plain "key" is not secret; an "api key" is.
_NAMES_IN_TEXT = (
    "p(?:ass|wd)|se(?:cret|ss)|token|key(?<=[ _a-z0-9-]key)|c(?:red|ookie|srf|onn)|auth|jwt|bearer|otp|dsn|xsrf"
)
_OPTION = re.compile(r"--(?<![\w-]--)[a-z][\w-]{0,60}+[ \t]{1,3}(?=[^\s-])")
_START_OF_NAME = re.compile(r"[\w-]*\Z")
_REST_OF_NAME = re.compile(r"[\w-]*+")
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
_BASIC = re.compile(r"basic(?<![\w-]basic)\s{1,3}(?P<secret>[a-z0-9_+/-]{4,}+={0,2})")
#: Texts of a form that their issuer gives them: JWTs, Callboard's own tokens and those of well-known services.
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


class How(NamedTuple):
    """How a value is masked: the function that writes the mask, and the hints that are somewhere in the value."""

    hide: Callable[[Any], str]
    hints: Sequence[str]


def hints_in(text: str, hints: Sequence[str] | None = None) -> list[str]:
    """List the hints that are in a text, of all or of these; a text without any holds no secret."""
    lowered = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return list(filter(lowered.__contains__, _all_hints() if hints is None else hints))


def _all_hints() -> Sequence[str]:
    return (*_HINTS, *_hints_of(added()))


@lru_cache(maxsize=8)
def _hints_of(added: tuple[str, ...]) -> list[str]:
    return [words_of(one)[0] for one in added]


def without_secrets(text: str, how: How) -> str:
    """Copy a text with the mask in the place of each secret."""
    hints = frozenset(how.hints)
    for wanted, pattern, stretch in _RULES:
        if not hints.isdisjoint(wanted):
            text = _without(text, pattern, stretch, how)
    if not hints.isdisjoint((*_NAME_HINTS, *_hints_of(added()))):
        text = _without(text, _assignment(added()), _assigned, how)
        text = _without(text, _OPTION, _option, how)
    return text


def _lowered(text: str) -> str:
    """Write a text in lower case at the same length: only U+0130 becomes two characters."""
    return text.replace("\u0130", "i").lower()


_Stretch = tuple[int, int]
_NONE: _Stretch = (0, 0)


def _without(text: str, pattern: re.Pattern[str], stretch: Callable[[str, re.Match[str]], _Stretch], how: How) -> str:
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
def _assignment(added: tuple[str, ...]) -> re.Pattern[str]:
    names = "|".join([_NAMES_IN_TEXT, *(r"[\W_]?".join(map(re.escape, words_of(one))) for one in added)])
    return re.compile(f"(?:{names}){_ASSIGNED}", re.VERBOSE)


def _assigned(text: str, found: re.Match[str]) -> _Stretch:
    """Find the value of a secret name."""
    before = text[max(0, found.start() - _LONGEST_BEFORE) : found.start()]
    start = _START_OF_NAME.search(before)[0]  # type: ignore[index]
    if not start and found[0].startswith("key") and (word := _WORD_BEFORE.search(before)):
        start = word[0]
    name = f"{start}{_REST_OF_NAME.match(text, found.start())[0]}"  # type: ignore[index]
    return _value(text, found.end(), name) if is_secret(name) else _NONE


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
    return _NONE if not found or (found[0].isdecimal() and is_harmless(name, 0)) else found.span()


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
    # Not ASCII is only what the pattern sees as an ASCII letter in lower case.
    word = text[start:end].encode("ascii", "ignore").rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_")
    return (start, end) if b":" in base64.urlsafe_b64decode(word[: len(word) // 4 * 4]) else _NONE


#: The hints that a rule needs, its pattern, and what it hides.
_RULES: Sequence[tuple[Collection[str], re.Pattern[str], Callable[[str, re.Match[str]], _Stretch]]] = (
    ({"key"}, _PRIVATE_KEY, _to_end_of_key),
    ({"://"}, _LOGIN, _password),
    ({"bearer"}, _BEARER, _secret),
    ({"basic"}, _BASIC, _basic),
    (_ISSUED_HINTS, _ISSUED, _secret),
)
