"""A headless Chromium on the admin of this process; without Playwright or a browser these tests are skipped."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

#: Playwright's own, or Debian's.
CHROMIUM = os.environ.get("CHROMIUM", shutil.which("chromium") or "")

OPERATOR = (
    *("view_failure", "change_failure", "view_operation", "add_operation", "change_operation"),
    *("view_deadletter", "redrive_deadletter", "discard_deadletter", "view_task", "view_payload", "view_journal"),
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    # Playwright's event loop runs in this thread until the module ends, since tests of other modules must not find it;
    # Django must not take it for an async view.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_api.sync_playwright() as playwright:
        if not CHROMIUM:
            pytest.skip("no chromium on the PATH, and none in CHROMIUM")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def olga(transactional_db: None) -> User:
    """Somebody who may do what an operator does about failures; the groups are gone after the first test's flush."""
    user = User.objects.create_user("olga", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=OPERATOR))
    return user


@contextmanager
def opened_by(user: User, chromium: Any, live_server: Any, **options: Any) -> Iterator[Any]:
    """Open a page that this user is logged in on; a message on its console fails the test."""
    client = Client()
    client.force_login(user)
    context = chromium.new_context(base_url=live_server.url, viewport={"width": 1440, "height": 1000}, **options)
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
    opened, said = context.new_page(), []

    def hear(message: Any) -> None:
        # Chromium's advice on forms is no message of the page.
        if not message.text.startswith("[DOM]"):
            said.append(f"{message.text} {message.location['url']}")

    opened.on("console", hear)
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    context.close()
    assert said == []


@pytest.fixture
def page(chromium: Any, live_server: Any, olga: User) -> Iterator[Any]:
    """Olga's page."""
    with opened_by(olga, chromium, live_server) as opened:
        yield opened
