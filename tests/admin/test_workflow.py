"""The page of a workflow."""

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tasks.admin import workflow
from tasks.models import Task
from tests import factories
from tests.admin.pages import browser_of, html, page_of


def _page(browser: Client, task: Task) -> str:
    return html(browser.get(reverse("admin:callboard_task_workflow", args=[task.pk])))


def _steps(page: str) -> list[list[str]]:
    return [re.findall(r"/task/([0-9a-f-]{36})/", column) for column in page.split("<h2>Step ")[1:]]


def test_tasks_stand_behind_the_last_of_their_parents(root: Client) -> None:
    first, other = factories.submit(), factories.submit()
    middle = factories.submit(depends_on=[first.pk])
    last = factories.submit(depends_on=[other.pk, middle.pk])
    page = _page(root, middle)
    assert _steps(page) == [[str(first.pk), str(other.pk)], [str(middle.pk)], [str(last.pk)]]
    (current,) = re.findall(
        r'aria-current="true">.*?/task/([0-9a-f-]{36})/', page.split('class="workflow"')[1], re.DOTALL
    )
    assert current == str(middle.pk)
    assert reverse("admin:callboard_task_workflow", args=[last.pk]) in html(root.get(page_of(last)))


def test_the_critical_path_goes_through_the_parents_that_ended_last(db: None) -> None:
    now = factories.database_now()
    tasks: dict[UUID, Task] = {}
    for minutes in (5, 9, None, 12):
        started_at = None if minutes is None else now
        finished_at = None if minutes is None else now + timedelta(minutes=minutes)
        task = Task(started_at=started_at, finished_at=finished_at)
        tasks[task.pk] = task
    quick, slow, waiting, end = tasks
    parents: Any = {quick: [], slow: [], waiting: [], end: [quick, slow, waiting]}
    assert workflow.critical_path(tasks, parents) == [slow, end]
    assert workflow.critical_path({waiting: tasks[waiting]}, parents) == []


def test_a_large_workflow_is_drawn_in_part(root: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(workflow, "MOST_DRAWN", 2)
    first = factories.submit()
    children = [factories.submit(depends_on=[first.pk]) for _ in range(3)]
    page = _page(root, children[2])
    assert _steps(page) == [[str(first.pk)], [str(children[0].pk)]]
    assert "Only the oldest 2 tasks are drawn" in page


def test_the_page_is_for_those_who_may_see_tasks(life: Task) -> None:
    browser = browser_of(User.objects.create_user("nobody", is_staff=True))
    assert browser.get(reverse("admin:callboard_task_workflow", args=[life.pk])).status_code == 403
