"""What an operator does in a browser all day: watch, filter, search, pause, submit."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from tasks.models import Queue, Task
from tests import factories
from tests.admin.pages import list_of, page_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def olga(life: Task) -> User:
    return User.objects.create_superuser("olga")


def test_a_page_shows_progress_without_a_reload(page: Any) -> None:
    task = Task.objects.get()
    page.goto(page_of(task))
    page.evaluate("window.isTheSamePage = true")
    Task.objects.filter(pk=task.pk).update(progress={"done": 7, "of": 9})
    page.get_by_text('"done": 7').wait_for(timeout=60_000)
    assert page.evaluate("window.isTheSamePage")


def test_tasks_are_filtered_by_typing_and_searched_by_payload(page: Any) -> None:
    wanted = factories.submit(payload={"do": "return", "value": {"user": {"id": 42}}}, tags=["tenant:acme"])
    page.goto(list_of(Task))
    assert page.locator("#result_list tbody tr").count() == 2
    page.get_by_text("Tag", exact=True).click()
    page.get_by_label("Exact tag").fill("tenant:acme")
    with page.expect_navigation():
        page.get_by_label("Exact tag").press("Enter")
    assert page.locator("#result_list tbody tr").count() == 1
    page.goto(list_of(Task))
    page.get_by_label("Search").fill("payload.value.user.id:42")
    with page.expect_navigation():
        page.get_by_label("Search").press("Enter")
    page.locator("#result_list tbody th a").click()
    assert str(wanted.pk) in page.url


def test_a_queue_is_paused_and_resumed_with_a_reason(page: Any) -> None:
    queue = Queue.objects.get(name="default")
    page.goto(page_of(queue))
    for verb in ("Pause", "Resume"):
        page.get_by_role("button", name=f"{verb}…").click()
        page.get_by_label("Reason").fill("deploy")
        page.get_by_role("button", name=f"{verb} queue").click()
        assert f"default was {verb.lower().removesuffix('e')}ed" in page.inner_text(".messagelist")
        queue.refresh_from_db()
        assert (queue.paused_at is not None) == (verb == "Pause")


def test_a_task_is_submitted_its_bad_copy_refused_and_a_late_one_run_now(page: Any) -> None:
    page.goto(list_of(Task))
    page.get_by_role("link", name="Submit task").click()
    page.get_by_label("Actor").select_option("add")
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("a", exact=True).fill("40")
    page.get_by_label("b", exact=True).fill("2")
    page.get_by_role("button", name="Submit task").click()
    assert "was submitted" in page.inner_text(".messagelist")
    task = Task.objects.order_by("-pk")[0]
    assert task.payload == {"a": 40, "b": 2}
    page.get_by_role("link", name="Run a copy").click()
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("queue", exact=False).first.fill("nowhere")
    page.get_by_role("button", name="Submit task").click()
    assert "no queue is called" in page.inner_text(".form-row.errors")
    assert Task.objects.count() == 2
    late = factories.submit(run_at=factories.database_now() + timedelta(hours=1))
    page.goto(page_of(late))
    page.get_by_role("button", name="Run now…").click()
    page.get_by_role("button", name="Run task now").click()
    wait_until(lambda: Task.objects.get(pk=late.pk).run_at <= factories.database_now())
