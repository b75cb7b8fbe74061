"""Web pages of other origins: none may call by default, those that are named may with a token, none with cookies."""

import json

import pytest
from django.test import Client

from tests.callers import TASKS
from tests.unit.test_settings import load_settings

APP, EVIL = "https://app.example.org", "https://evil.example.org"
CORS = "corsheaders.middleware.CorsMiddleware"
ASKED = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@pytest.fixture
def shared(settings):
    settings.MIDDLEWARE = [settings.MIDDLEWARE[0], CORS, *settings.MIDDLEWARE[1:]]
    settings.CORS_ALLOWED_ORIGINS = [APP]
    return settings


def preflight(path: str = TASKS, origin: str = APP):
    return Client().options(path, headers={"origin": origin, **ASKED})


def allowed(response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-allow")}


def test_by_default_no_other_origin_may_call(alice, settings) -> None:
    assert CORS not in settings.MIDDLEWARE
    response = preflight()
    assert (response.status_code, allowed(response)) == (401, {})
    assert allowed(alice.get(TASKS, headers={"origin": APP})) == {}


def test_a_named_origin_may_ask_without_a_token_what_it_may_send(shared, db) -> None:
    response = preflight()
    assert response.status_code == 200
    headers = allowed(response)
    assert headers["access-control-allow-origin"] == APP
    assert {"GET", "POST", "PUT", "PATCH", "DELETE"} <= set(headers["access-control-allow-methods"].split(", "))
    assert {"authorization", "content-type", "idempotency-key", "if-match"} <= set(
        headers["access-control-allow-headers"].split(", ")
    )
    assert "access-control-allow-credentials" not in headers
    assert response["X-Trace-Id"]


def test_a_named_origin_may_call_and_read_answers_and_refusals(shared, alice, nobody) -> None:
    origin = {"origin": APP}
    submitted = alice.send(TASKS, {"actor": "act", "payload": {"do": "return"}}, headers=origin)
    assert submitted.status_code == 201
    for response in (submitted, nobody.get(TASKS, headers=origin), alice.get(f"{TASKS}/x", headers=origin)):
        assert allowed(response) == {"access-control-allow-origin": APP}
        assert {"ETag", "Location", "Retry-After", "X-Trace-Id"} <= set(
            response["Access-Control-Expose-Headers"].split(", ")
        )
        assert "origin" in response["Vary"].lower()


@pytest.mark.parametrize("origin", [EVIL, "http://app.example.org", f"{APP}:8443", f"{APP}.evil.org", "null", ""])
def test_others_may_not(shared, alice, origin) -> None:
    assert allowed(preflight(origin=origin)) == {}
    assert allowed(alice.get(TASKS, headers={"origin": origin})) == {}


@pytest.mark.parametrize("path", ["/admin/login/", "/healthz", "/metrics", "/static/callboard/admin.css", "/"])
def test_it_is_about_the_api_only(shared, client, db, path) -> None:
    assert allowed(preflight(path)) == {}
    response = client.get(path, headers={"origin": APP})
    assert allowed(response) == {}
    response.close()


def test_all_origins_may_be_let_in_and_still_send_no_cookies(shared, alice) -> None:
    shared.CORS_ALLOWED_ORIGINS = []
    shared.CORS_ALLOW_ALL_ORIGINS = True
    assert allowed(alice.get(TASKS, headers={"origin": EVIL})) == {"access-control-allow-origin": "*"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", [False, [], False]),
        (f"{APP}, http://localhost:3000", [True, [APP, "http://localhost:3000"], False]),
        ("*", [True, [], True]),
    ],
)
def test_the_setting(given, expected) -> None:
    expression = f"__import__('json').dumps(['{CORS}' in settings.MIDDLEWARE, settings.CORS_ALLOWED_ORIGINS, "
    expression += "settings.CORS_ALLOW_ALL_ORIGINS])"
    assert json.loads(load_settings(expression, CORS_ALLOWED_ORIGINS=given).stdout) == expected


@pytest.mark.parametrize(
    "given", ["app.example.org", f"{APP}/", f"{APP},*", "https://", "https://a b", "https://*.a.org"]
)
def test_a_bad_origin_is_refused_at_the_start(given) -> None:
    assert (
        "CORS_ALLOWED_ORIGINS: expected origins such as"
        in load_settings("settings.DEBUG", CORS_ALLOWED_ORIGINS=given).stderr
    )


def test_cookies_cannot_be_let_in() -> None:
    refused = load_settings("settings.DEBUG", CORS_ALLOWED_ORIGINS="*", CORS_ALLOW_CREDENTIALS="true").stderr
    assert "CORS_ALLOW_CREDENTIALS is not a setting of Callboard" in refused
