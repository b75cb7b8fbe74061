"""Settings as data: each kind knows what it accepts, as text from the environment and as a value from Python code."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_ORIGIN = re.compile(r"https?://(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", flags=re.ASCII | re.IGNORECASE)
_WEB_URL = re.compile(r"https?://[\w\[]", flags=re.ASCII | re.IGNORECASE)
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):(\d{1,5})", flags=re.ASCII)
_PATH_PREFIX = re.compile(r"(/[\w.~-]+)+", flags=re.ASCII)
_LARGEST_PORT = 65_535
_PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MISSING: Any = object()


class Setting(ABC, Generic[T]):
    """One setting: its name, its default and what it accepts.

    Declared in a class and read through its instance, it is the Django setting of the same name, else the entry of that
    name in Django's setting ``CALLBOARD``, else the default.

    Parameters:
        default: a value as ``read`` returns it, or a function that makes one of the instance.
    """

    def __init__(self, default: T | Callable[[Any], T]) -> None:
        self.name = ""
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, conf: None, owner: type) -> Self: ...
    @overload
    def __get__(self, conf: object, owner: type) -> T: ...
    def __get__(self, conf: object | None, owner: type) -> Self | T:
        if conf is None:
            return self
        given = self.given()
        value = self.default_for(conf) if given is _MISSING else self.read(given)
        # Found before this method is asked again, until `forget()`: tasks read a dozen settings each.
        vars(conf)[self.name] = value
        return value

    def given(self) -> Any:
        """Return what the project's settings say, as they say it."""
        given = getattr(django_settings, self.name, _MISSING)
        return getattr(django_settings, "CALLBOARD", {}).get(self.name, _MISSING) if given is _MISSING else given

    def default_for(self, conf: object) -> T:
        """Return the default beside the other settings of an instance."""
        return self.default(conf) if callable(self.default) else self.default

    def read(self, given: Any) -> T:
        """Turn text, or a value of Python code, into the setting's value; a value that was read stays as it is.

        Raises:
            ImproperlyConfigured: it says what was expected and what came.
        """
        try:
            return self._from_text(given.strip()) if isinstance(given, str) else self._from_value(given)
        except (ValueError, TypeError):
            message = f"{self.name}: expected {self._expected()}, got {given!r}."
        raise ImproperlyConfigured(message)

    @abstractmethod
    def _expected(self) -> str:
        """Say what is accepted, as the end of: expected …"""

    @abstractmethod
    def _from_text(self, text: str) -> T:
        """Read text; a ValueError refuses it."""

    @abstractmethod
    def _from_value(self, value: Any) -> T:
        """Read a value of Python code; a ValueError or TypeError refuses it."""


class Text(Setting[str]):
    """Any text, or text with at most so many characters."""

    def __init__(self, default: str | Callable[[Any], str], *, longest: int | None = None) -> None:
        super().__init__(default)
        self.longest = longest

    def _expected(self) -> str:
        return "text" if self.longest is None else f"text of at most {self.longest} characters"

    def _from_text(self, text: str) -> str:
        if self.longest is not None and len(text) > self.longest:
            raise ValueError
        return text

    def _from_value(self, value: Any) -> str:
        # A pathlib.Path, for one.
        return self._from_text(str(value))


class UrlTemplate(Text):
    """A URL with names in braces, each in place of a value; or nothing.

    Parameters:
        names: that may stand in braces.
    """

    def __init__(self, default: str, names: Iterable[str]) -> None:
        super().__init__(default)
        self.names = frozenset(names)

    def _expected(self) -> str:
        return f"a URL that begins with http:// or https://, with any of {', '.join(sorted(self.names))} in braces"

    def _from_text(self, text: str) -> str:
        found = super()._from_text(text)
        used = set(re.findall(r"\{(.*?)\}", found))
        if found and not (_WEB_URL.match(found) and used <= self.names and found.count("{") == found.count("}")):
            raise ValueError
        return found


class Folder(Setting[Path]):
    """The path of a folder."""

    def _expected(self) -> str:
        return "the path of a folder"

    def _from_text(self, text: str) -> Path:
        return Path(text)

    def _from_value(self, value: Any) -> Path:
        return Path(value)


class Flag(Setting[bool]):
    """True or false."""

    def _expected(self) -> str:
        return "true or false"

    def _from_text(self, text: str) -> bool:
        if text.lower() not in _TRUE | _FALSE:
            raise ValueError
        return text.lower() in _TRUE

    def _from_value(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError
        return value


class Choice(Setting[str]):
    """One of a few words, in upper or lower case."""

    def __init__(self, default: str, words: Iterable[str]) -> None:
        super().__init__(default)
        self.words = {word.lower(): word for word in words}

    def _expected(self) -> str:
        return f"one of {', '.join(self.words.values())}"

    def _from_text(self, text: str) -> str:
        if text.lower() not in self.words:
            raise ValueError
        return self.words[text.lower()]

    def _from_value(self, value: Any) -> str:
        raise TypeError(value)


class Integer(Setting[int]):
    """A whole number within bounds."""

    def __init__(self, default: int | Callable[[Any], int], *, minimum: int = 0, maximum: int | None = None) -> None:
        super().__init__(default)
        self.minimum, self.maximum = minimum, maximum

    def _expected(self) -> str:
        bounds = f"of at least {self.minimum}" if self.maximum is None else f"from {self.minimum} to {self.maximum}"
        return f"a whole number {bounds}"

    def _from_text(self, text: str) -> int:
        return self._from_value(int(text))

    def _from_value(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError
        if value < self.minimum or (self.maximum is not None and value > self.maximum):
            raise ValueError
        return value


class Seconds(Setting[float]):
    """A duration in seconds, which may be a fraction; Python code may write a ``timedelta``."""

    def __init__(self, default: float | Callable[[Any], float], *, minimum: float = 0) -> None:
        super().__init__(default)
        self.minimum = minimum

    def _expected(self) -> str:
        return f"a number of seconds, at least {self.minimum:g}"

    def _from_text(self, text: str) -> float:
        return self._from_value(float(text))

    def _from_value(self, value: Any) -> float:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError
        # Refuses NaN too, which compares false with everything.
        if not self.minimum <= value < float("inf"):
            raise ValueError
        return int(value) if float(value).is_integer() else value


class Rate(Setting[tuple[int, float] | None]):
    """``units/period`` (50/m, 5/s, 1000/h) as units and seconds; 0, None in Python, means no limit."""

    def __init__(self, default: str) -> None:
        super().__init__(self._from_text(default))

    def _expected(self) -> str:
        return "0, or a number per s, m, h or d such as 50/m"

    def _from_text(self, text: str) -> tuple[int, float] | None:
        if text == "0":
            return None
        units, _, period = text.partition("/")
        if not units.isdecimal() or int(units) < 1 or period not in _PERIODS:
            raise ValueError
        return int(units), _PERIODS[period]

    def _from_value(self, value: Any) -> tuple[int, float] | None:
        if value is None or value == 0:
            return None
        units, seconds = value
        if not (isinstance(units, int) and units > 0 and seconds > 0):
            raise ValueError
        return units, seconds


class Names(Setting[list[str]]):
    """A list, as text separated by commas."""

    def _expected(self) -> str:
        return "a list separated by commas"

    def _from_text(self, text: str) -> list[str]:
        return self._from_value(text.split(","))

    def _from_value(self, value: Any) -> list[str]:
        found = [item.strip() for item in value]
        return [item for item in found if item]


class FieldNames(Names):
    """Names of fields; each has a letter or a digit, or it would stand for every field."""

    def _expected(self) -> str:
        return "names of fields such as iban"

    def _from_value(self, value: Any) -> list[str]:
        found = super()._from_value(value)
        if not all(any(character.isalnum() for character in item) for item in found):
            raise ValueError
        return found


class Origins(Names):
    """Origins (https://host:port), or ``*`` alone, which means all."""

    def _expected(self) -> str:
        return "origins such as https://app.example.org separated by commas, or * alone"

    def _from_value(self, value: Any) -> list[str]:
        found = super()._from_value(value)
        if found != ["*"] and not all(map(_ORIGIN.fullmatch, found)):
            raise ValueError
        return found


class Networks(Setting[list[IPv4Network | IPv6Network]]):
    """Addresses and networks (10.0.0.0/8), as text separated by commas."""

    def _expected(self) -> str:
        return "addresses or networks separated by commas"

    def _from_text(self, text: str) -> list[IPv4Network | IPv6Network]:
        return self._from_value([item for item in map(str.strip, text.split(",")) if item])

    def _from_value(self, value: Any) -> list[IPv4Network | IPv6Network]:
        return [ip_network(item, strict=False) for item in value]


class Address(Setting[tuple[str, int] | None]):
    """A server's address (127.0.0.1:9191, [::1]:9191) as host and port, or None."""

    def _expected(self) -> str:
        return "a host and a port such as 127.0.0.1:9191"

    def _from_text(self, text: str) -> tuple[str, int] | None:
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise ValueError
        return self._from_value((found[1] or found[2], int(found[3])))

    def _from_value(self, value: Any) -> tuple[str, int] | None:
        if value is None:
            return None
        host, port = value
        if not (isinstance(host, str) and 1 <= port <= _LARGEST_PORT):
            raise ValueError
        return host, port


class PathPrefix(Setting[str | None]):
    """The path under which a site is shown (``/board``); None at the root."""

    def _expected(self) -> str:
        return "a path such as /board"

    def _from_text(self, text: str) -> str | None:
        prefix = text.rstrip("/")
        if prefix and not _PATH_PREFIX.fullmatch(prefix):
            raise ValueError
        return prefix or None

    def _from_value(self, value: Any) -> str | None:
        if value is not None:
            raise TypeError
        return None


class Options(Setting[Mapping[str, Any]]):
    """A dictionary, for Python code only."""

    def _expected(self) -> str:
        return "a dictionary"

    def _from_text(self, text: str) -> Mapping[str, Any]:
        raise ValueError(text)

    def _from_value(self, value: Any) -> Mapping[str, Any]:
        return dict(value)


class Entries(Options):
    """A dictionary of dictionaries by name; JSON in the environment."""

    def _expected(self) -> str:
        return "a dictionary of dictionaries, in the environment as JSON"

    def _from_text(self, text: str) -> Mapping[str, Any]:
        return self._from_value(json.loads(text) if text else {})

    def _from_value(self, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(one, Mapping) for one in value.values()):
            raise TypeError(value)
        return dict(value)


def forget(conf: object) -> None:
    """Let an instance read its settings anew: a test has changed one."""
    vars(conf).clear()


def declared(owner: type) -> list[Setting[Any]]:
    """List the settings that a class declares, in its order."""
    return [found for found in vars(owner).values() if isinstance(found, Setting)]
