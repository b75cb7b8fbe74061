"""An HTTP client of the REST API: addresses, a token, JSON."""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from django.core.management.base import CommandError

TIMEOUT_SECONDS = 30


class Unreachable(Exception):
    """There was no answer, or it was not JSON."""


@dataclass(frozen=True)
class Answer:
    """An answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def problem(self) -> str:
        """The error in the body, in one line."""
        if not isinstance(self.body, dict):
            return f"{self.status}"
        fields = "; ".join(f"{one['field']}: {one['message']}" for one in self.body.get("errors", []))
        return f"{self.status} {self.body.get('code', '')}: {fields or self.body.get('detail', '')}"


class Client:
    """Calls one stack with one token.

    Raises:
        CommandError: the address is not an HTTP URL.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise CommandError(f"--url: expected http://host:port or https://host, got {url!r:.200}")
        self.url = url.rstrip("/")
        self._token = token
        self._opener = _opener(parts.hostname)

    def call(self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request; an error status is an answer.

        Parameters:
            path: starts with ``/``.

        Raises:
            Unreachable: there was no answer, or it did not come from the API.
        """
        request = Request(  # noqa: S310 - the scheme was checked
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", **(headers or {})},
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                return _answer(response.status, response.headers, response.read())
        except HTTPError as error:
            with error:
                return _answer(error.code, error.headers, error.read())
        except (OSError, ValueError) as error:
            raise Unreachable(f"{method} {self.url}{path}: {getattr(error, 'reason', error)}") from error


def _answer(status: int, headers: Any, raw: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers.items()}, json.loads(raw) if raw else None)


def _opener(host: str) -> OpenerDirector:
    # A proxy of the environment is not meant for this machine.
    return build_opener(ProxyHandler({})) if _is_loopback(host) else build_opener()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
