"""All pages of the admin in a browser: accessible in light and dark, wide enough nowhere, and without messages."""

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from dlq.models import DeadLetter, Failure
from tasks.models import ApiToken, Batch, Journal, Operation, Queue, Schedule, Task, Worker
from tests import factories
from tests.admin.pages import list_of, page_of, verb_of
from tests.browser.conftest import opened_by

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

MODELS = (Task, Batch, Failure, DeadLetter, Operation, Schedule, Queue, Worker, Journal, ApiToken)
SERIOUS = ("serious", "critical")
#: Django's script gives the tooltips of its two-list choosers names that screen readers ignore.
DJANGOS = ("aria-prohibited-attr",)
WIDTHS = (1440, 820, 390)


@pytest.fixture(scope="session")
def axe() -> str:
    pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def page(chromium: Any, live_server: Any, olga: User) -> Iterator[Any]:
    # axe-core tries styles out, which the policy of the pages forbids.
    with opened_by(olga, chromium, live_server, bypass_csp=True) as opened:
        yield opened


@pytest.fixture
def olga(life: Task) -> User:
    return User.objects.create_superuser("olga")


def _addresses() -> dict[str, str]:
    found = {"overview": "/admin/", "actors": reverse("admin:callboard_actors")}
    for model in MODELS:
        name = model.__name__
        found[f"list of {name}"] = list_of(model)
        if (row := model._default_manager.order_by("-pk").first()) is not None:
            found[f"page of {name}"] = page_of(row)
    task = Task.objects.order_by("pk")[0]
    return found | {
        "actor": reverse("admin:callboard_actor", args=["act"]),
        "list without matches": f"{list_of(Task)}?status=DEAD&q=none",
        "workflow": reverse("admin:callboard_task_workflow", args=[task.pk]),
        "submit": reverse("admin:callboard_task_add"),
        "submission": f"{reverse('admin:callboard_task_add')}?actor=add",
        "copy": f"{reverse('admin:callboard_task_add')}?copy={task.pk}",
        "new schedule": reverse("admin:callboard_schedule_add"),
        "new token": reverse("admin:callboard_apitoken_add"),
        "users": list_of(User),
        "user": page_of(User.objects.get(username="olga")),
        "password": reverse("admin:password_change"),
    }


def _findings(page: Any, axe: str) -> list[str]:
    """Say what axe-core finds that keeps people from using the page."""
    # A colour half-way to another one is no finding.
    page.add_style_tag(content="*, *::before, *::after { transition: none !important; }")
    page.evaluate(axe)
    found = page.evaluate("axe.run({resultTypes: ['violations'], preload: false})")["violations"]
    return [
        f"{one['id']}: {node['target']} {json.dumps(node['any'][0]['message'] if node['any'] else node['html'])[:200]}"
        for one in found
        if one["impact"] in SERIOUS and one["id"] not in DJANGOS
        for node in one["nodes"][:3]
    ]


# Some seconds for each page, twice.
@pytest.mark.timeout(900)
def test_every_page_is_accessible_and_fits_its_screen(page: Any, axe: str) -> None:
    factories.submit(depends_on=[factories.submit().pk])
    found: list[str] = []
    for name, address in _addresses().items():
        assert page.goto(address).status == 200, name
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found += [f"{name}, {scheme}: {finding}" for finding in _findings(page, axe)]
        for width in WIDTHS[::-1]:
            page.set_viewport_size({"width": width, "height": 1000})
            if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
                found.append(f"{name}, {width}: {wide} px wide")
    assert not found, "\n".join(found)


def test_a_dialogue_is_accessible(page: Any, axe: str) -> None:
    task = Task.objects.get()
    page.goto(page_of(task))
    page.get_by_role("button", name="Cancel…").click()
    assert page.url.endswith(verb_of(task, "cancel"))
    assert _findings(page, axe) == []
    page.goto(list_of(Task))
    page.get_by_text("Tag", exact=True).click()
    assert _findings(page, axe) == []


def test_the_login_is_accessible(chromium: Any, live_server: Any, olga: User, axe: str) -> None:
    olga.set_password("a long password")
    olga.save()
    context = chromium.new_context(base_url=live_server.url, timezone_id="Asia/Tokyo", bypass_csp=True)
    page = context.new_page()
    page.goto("/admin/")
    assert _findings(page, axe) == []
    page.get_by_label("Username").fill("olga")
    page.get_by_label("Password").fill("a wrong password")
    page.get_by_role("button", name="Log in").click()
    assert "correct username and password" in page.inner_text("#content")
    assert _findings(page, axe) == []
    page.get_by_label("Username").fill("olga")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Log in").click()
    assert page.inner_text("h1") == "Overview"
    # The login page has told the zone, so that the first page after it has it.
    page.goto(page_of(Task.objects.get()))
    assert "JST" in page.inner_text(".timeline")
    context.close()


def test_viewers_see_no_verbs_and_others_no_pages(chromium: Any, live_server: Any, life: Task) -> None:
    eve = User.objects.create_user("eve", is_staff=True)
    with opened_by(eve, chromium, live_server) as page:
        assert page.goto("/admin/").status == 200
        assert page.locator("#tabs a").count() == 0
    viewer = User.objects.create_user("vera", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_task", content_type__app_label="callboard"))
    with opened_by(viewer, chromium, live_server) as page:
        page.goto(page_of(life))
        assert page.locator(".verbs button").count() == 0
        assert page.get_by_role("link", name="Run a copy").count() == 0
        assert "hidden" in page.inner_text("#content")
