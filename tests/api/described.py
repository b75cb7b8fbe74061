"""Holds requests and answers against the API's own description."""

import json
import re
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker

from tasks.api import openapi

_FORMATS = FormatChecker(["uuid", "date-time"])
_FORMATS.checks("uri")(lambda value: not isinstance(value, str) or bool(urlsplit(value).netloc))

#: No body, or a form without fields.
_NOTHING = re.compile(rb"\s*(?:--[^\r\n]+--)?\s*")
_NOT_DESCRIBED = ("/metrics", "/api/schema", "/api/docs", "/admin", "/static")


@cache
def _paths() -> list[tuple[re.Pattern[str], str]]:
    paths = sorted(openapi.document()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in paths]


@cache
def _validator(name: str, formats: FormatChecker | None) -> Draft202012Validator:
    components = openapi.document()["components"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": components}
    return Draft202012Validator(schema, format_checker=formats)


def assert_fits(name: str, value: Any, *, formats: FormatChecker | None = _FORMATS) -> None:
    """Check a value against one of the described shapes."""
    error = next(_validator(name, formats).iter_errors(value), None)
    assert error is None, f"{name} at {error.json_path}: {error.message[:500]}"


def assert_described(method: str, path: str, body: bytes, response: Any) -> None:
    """Check that an answer is one that the description promises, and that what was accepted is what it asks for."""
    operation = _operation(method.lower(), path)
    if operation is None:
        return
    status = response.status_code
    answer = operation["responses"].get(str(status))
    if answer is None and (status == HTTPStatus.NOT_FOUND or status >= HTTPStatus.INTERNAL_SERVER_ERROR):
        # Tests make views raise these where nothing else would.
        answer = operation["responses"]["default"]
    assert answer is not None, f"{method} {path} answered {status}, which is not described"
    if "$ref" in answer:
        answer = openapi.document()["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    for header, about in answer["headers"].items():
        if "$ref" in about:
            about = openapi.document()["components"]["headers"][header]
        assert header in response or not about["required"], f"{method} {path} lacks the header {header}"
        assert header not in response or _header_fits(about["schema"], response[header]), (
            f"{header} is not as described"
        )
    if status >= 400:
        assert_fits("Problem", response.json())
        return
    if response.streaming or (response.content and not response["Content-Type"].startswith("application/json")):
        return
    if content := answer.get("content"):
        assert_fits(_name(content), response.json())
    else:
        assert response.content == b""
    accepted = operation.get("requestBody")
    if accepted and (accepted["required"] or not _NOTHING.fullmatch(body)):
        # Times may come in more forms than RFC 3339's, which clients had better keep to.
        assert_fits(_name(accepted["content"]), json.loads(body.decode("utf-8-sig")), formats=None)


def _header_fits(schema: dict[str, Any], header: str) -> bool:
    is_number = schema.get("type") == "integer" and header.isdecimal()
    return Draft202012Validator(schema).is_valid(int(header) if is_number else header)


def _operation(method: str, path: str) -> dict[str, Any] | None:
    path = path.rstrip("/")
    if method == "head" or path.startswith(_NOT_DESCRIBED):
        return None
    for pattern, described in _paths():
        if pattern.fullmatch(path):
            operation: dict[str, Any] | None = openapi.document()["paths"][described].get(method)
            return operation
    return None


def _name(content: dict[str, Any]) -> str:
    return str(content["application/json"]["schema"]["$ref"]).rpartition("/")[2]
