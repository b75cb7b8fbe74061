"""The tools of a failure in a browser: compare two payloads, edit and re-drive one, discard all and undo it."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.models import Operation, Task
from tasks.states import DeathReason, Status
from tests import factories

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

#: Where pictures go, if they are wanted.
PICTURES = os.environ.get("PICTURES")
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/actors.py", line 28, in settle
    return {"order": order, "settled": answer["amount_cents"] / 100}
KeyError: 'amount_cents'
"""
ORDER = {"currency": "EUR", "amount": "12,50", "customer": {"name": "Ada", "api_key": "sk_live_1234567890"}}


@pytest.fixture
def failure(transactional_db: None) -> Failure:
    worker = factories.make_worker(threads=9)
    orders = [ORDER | {"id": 4711 + number, "currency": "USD" if number % 2 else "EUR"} for number in range(5)]
    outcomes = [
        factories.failure(
            factories.start(factories.submit(max_retries=0, payload={"do": "fail", "value": order}), worker), worker,
            error_type="KeyError", error_message="'amount_cents'", traceback=TRACEBACK, death=DeathReason.NOT_RETRYABLE,
        )
        for order in orders
    ]  # fmt: skip
    lifecycle.complete_many(outcomes)
    lifecycle.fold_failures(**factories.make_lead())
    return Failure.objects.get()


def picture(page: Any, name: str) -> None:
    if not PICTURES:
        return
    for scheme, width in (("light", 1440), ("dark", 1440), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 1000})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
        page.screenshot(path=Path(PICTURES) / f"{name}-{scheme}-{width}.png", full_page=True)
    page.set_viewport_size({"width": 1440, "height": 1000})


def test_two_payloads_are_compared_and_one_is_edited_and_redriven(page: Any, olga: User, failure: Failure) -> None:
    olga.user_permissions.add(*Permission.objects.filter(codename="add_task"))
    page.goto(f"/admin/dlq/failure/{failure.pk}/change/")
    picture(page, "failure")
    page.click("text=Compare two payloads")
    assert page.locator("tr.changed").count() == 1
    assert "A secret in both" in page.content()
    options = page.locator("select[name=b] option")
    page.select_option("select[name=b]", options.nth(1).get_attribute("value"))
    page.click("button:text('Compare')")
    assert page.locator("tr.changed").count() == 2
    picture(page, "compare")
    page.go_back()
    page.go_back()
    page.click("text=Edit and re-drive it")
    assert "4715" in page.input_value("#payload")
    picture(page, "edit")
    page.fill("#payload", '{"do": "return", "value": 7}')
    page.fill("#reason", "the amount was a text")
    page.click("text=Re-drive with this payload")
    assert "re-driven with the new payload" in page.inner_text(".messagelist")
    assert [task.payload for task in Task.objects.filter(status=Status.PENDING)] == [{"do": "return", "value": 7}]
    picture(page, "edited")


def test_all_are_discarded_and_the_operation_is_undone(page: Any, failure: Failure) -> None:
    lead = factories.make_lead()
    page.goto(f"/admin/dlq/failure/{failure.pk}/change/")
    page.click("text=Discard 5…")
    page.click("button:text('Start')")
    lifecycle.step_operation(Operation.objects.get().pk, **lead)
    assert not DeadLetter.objects.open().exists()
    page.reload()
    picture(page, "discarded")
    page.click("text=Undo: restore 5")
    lifecycle.step_operation(Operation.objects.newest_first()[0].pk, **lead)
    page.reload()
    assert "Restore" in page.inner_text("h1")
    assert DeadLetter.objects.open().count() == 5
    picture(page, "restored")
    page.goto("/admin/dlq/deadletter/")
    with page.expect_download() as download:
        page.click("a:text-is('CSV')")
    assert download.value.suggested_filename == "dead-letters.csv"
    assert len(Path(download.value.path()).read_text().splitlines()) == 6
    picture(page, "letters")
