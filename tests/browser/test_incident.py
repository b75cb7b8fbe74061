"""The incident walk: one bad deploy among old failures, understood, re-driven with a canary at a rate, and verified."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.lifecycle import Outcome
from tasks.models import Operation, Task
from tasks.states import DeathReason, OperationState, Status
from tests import factories
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

#: Where the pictures of docs/how-to/handle-an-incident.md go, if they are wanted.
PICTURES = os.environ.get("PICTURES")
OLD, BAD = 60, 500
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/actors.py", line 28, in settle
    return {"order": order, "settled": answer["amount_cents"] / 100}
KeyError: 'amount_cents'
"""


def _die(count: int, *, error_type: str, message: Callable[[int], str], traceback: str = "", **task: Any) -> None:
    worker = factories.make_worker(threads=count)
    outcomes = [
        factories.failure(
            factories.start(factories.submit(max_retries=0, **task), worker), worker, error_type=error_type,
            error_message=message(number), traceback=traceback, death=DeathReason.MAX_RETRIES_EXCEEDED,
        )
        for number in range(count)
    ]  # fmt: skip
    lifecycle.complete_many(outcomes)


@pytest.fixture
def incident(transactional_db: None) -> Iterator[dict[str, Any]]:
    """Dead tasks, and a scheduler and workers that go on in a thread: ``ends`` says how the next runs end."""
    _die(OLD, error_type="TimeoutError", message=lambda number: f"no answer in {number}.5 s")
    _die(BAD, error_type="KeyError", message=lambda _: "'amount_cents'", traceback=TRACEBACK, tags=["tenant:acme"])
    lead = factories.make_lead()
    lifecycle.fold_failures(**lead)
    state: dict[str, Any] = {"dies": lambda number: False, "runs": 0}
    stop = threading.Event()

    def work() -> None:
        worker = factories.make_worker(threads=BAD)
        while not stop.wait(0.05):
            lifecycle.fold_failures(**lead)
            for id in lifecycle.open_operations():
                lifecycle.step_operation(id, **lead)
            outcomes: list[Outcome] = []
            for task in Task.objects.filter(status=Status.PENDING)[:50]:
                claimed = factories.start(task, worker)
                state["runs"] += 1
                dies = state["dies"](state["runs"])
                ends = {"error_type": "KeyError", "error_message": "'amount_cents'", "traceback": TRACEBACK}
                outcomes.append(
                    factories.failure(claimed, worker, death=DeathReason.MAX_RETRIES_EXCEEDED, **ends)
                    if dies
                    else factories.outcome(claimed, worker)
                )
            lifecycle.complete_many(outcomes)
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    yield state
    stop.set()
    thread.join()


def _picture(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


def _failure_page(page: Any) -> None:
    page.goto("/admin/dlq/failure/")
    _picture(page, "failures")
    page.get_by_role("link", name="KeyError: 'amount_cents'").click()


def test_a_bad_deploy_is_repaired_with_a_canary_and_a_rate(page: Any, incident: Any) -> None:
    _failure_page(page)
    text = page.inner_text("#content-main")
    for fact in ("500", "/srv/shop/actors.py:28 in settle", "tenant:acme", "What do they have in common?"):
        assert fact in text
    _picture(page, "failure")
    page.set_viewport_size({"width": 390, "height": 900})
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    _picture(page, "failure-phone")
    page.set_viewport_size({"width": 1440, "height": 1000})
    page.emulate_media(color_scheme="light")
    page.get_by_label("Per second").fill("400")
    page.get_by_label("Reason").fill("fix abc123 is out")
    page.get_by_role("button", name="Re-drive 500…").click()
    assert "500 dead letters" in page.inner_text(".steps")
    _picture(page, "operation-preview")
    page.get_by_role("button", name="Start").click()
    wait_until(lambda: Operation.objects.get().state == OperationState.RUNNING, timeout=60)
    page.reload()
    _picture(page, "operation-running")
    wait_until(lambda: Operation.objects.get().state == OperationState.DONE, timeout=180)
    page.reload()
    assert "500 succeeded" in page.inner_text("#content-main")
    _picture(page, "operation-done")
    operation = Operation.objects.get()
    assert (operation.succeeded, operation.died, operation.by, operation.reason) == (
        500,
        0,
        "olga",
        "fix abc123 is out",
    )
    assert DeadLetter.objects.open().count() == OLD
    wait_until(lambda: Failure.objects.get(error_type="KeyError").open == 0, timeout=60)


def test_an_operation_whose_tasks_die_again_stops_by_itself(page: Any, incident: Any) -> None:
    incident["dies"] = lambda number: number > 5 and number % 2 == 0
    _failure_page(page)
    page.get_by_label("Per second").fill("40")
    page.get_by_role("button", name="Re-drive 500…").click()
    page.get_by_role("button", name="Start").click()
    wait_until(lambda: Operation.objects.get().state == OperationState.STOPPED, timeout=180)
    page.reload()
    text = page.inner_text("#content-main")
    assert "of the last 50 died again" in text
    assert "Died again" in text
    _picture(page, "operation-stopped")
    operation = Operation.objects.get()
    assert operation.left > 350, "it stopped early"
    page.get_by_role("button", name="Cancel").click()
    assert Operation.objects.get().state == OperationState.CANCELLED
