"""Verbs on a whole workflow, asked for on the page of one of its tasks."""

import re

import pytest

from tasks import lifecycle
from tasks.contract import workflows
from tasks.models import Journal, Task
from tasks.queries import dependencies
from tasks.states import DeathReason, Door, Status
from tests import factories
from tests.admin.pages import html, list_of, messages_of, page_of, verb_of

CONFIRMED = {"confirmed": "yes", "reason": "wrong night"}
VERBS = ("cancel_workflow", "retry_workflow")


@pytest.fixture
def chain():
    """Submit a task, its child, its grandchild, and one that is not linked to them."""
    top = factories.submit()
    child = factories.submit(depends_on=[top.pk])
    return top, child, factories.submit(depends_on=[child.pk]), factories.submit()


def _statuses(tasks):
    found = Task.objects.in_bulk([task.pk for task in tasks])
    return [str(found[task.pk].status) for task in tasks]


def test_a_workflow_is_cancelled_from_the_page_of_any_of_its_tasks(operator, worker, chain):
    top, child, *_ = chain
    factories.start(top, worker)
    page = html(operator.get(page_of(child)))
    assert [f'action="{verb_of(child, verb)}"' in page for verb in VERBS] == [True, False]
    question = html(operator.post(verb_of(child, "cancel_workflow")))
    assert f"Cancel 3 tasks of the workflow of act …{str(child.pk)[-8:]}?" in question
    assert ">Cancel 3 tasks</button>" in question
    assert re.findall(r'data-label="(?:Linked|Will be cancelled|Skipped)">(\d)<', question) == list("220110")
    assert _statuses(chain) == ["RUNNING", "BLOCKED", "BLOCKED", "PENDING"]
    answer = operator.post(verb_of(child, "cancel_workflow"), CONFIRMED, follow=True)
    assert messages_of(answer) == ["3 tasks cancelled."]
    assert answer.redirect_chain == [(page_of(child), 302)]
    assert _statuses(chain) == ["RUNNING", "CANCELLED", "CANCELLED", "PENDING"]
    assert Task.objects.get(pk=top.pk).cancel_requested_at is not None
    entries = Journal.objects.filter(verb="cancel")
    assert {(one.by, one.door, one.reason) for one in entries} == {("olga", Door.ADMIN, "wrong night")}
    assert (len({one.operation_id for one in entries}), [one.count for one in entries if one.count]) == (1, [3])
    again = operator.post(verb_of(child, "cancel_workflow"), CONFIRMED, follow=True)
    assert messages_of(again)[0].startswith("Nothing was done.")


def test_a_retry_of_a_workflow_counts_and_runs_what_failed_by_itself(operator, worker, lead, chain):
    top, *_ = chain
    claimed = factories.start(top, worker)
    lifecycle.complete_many([factories.failure(claimed, worker, death=DeathReason.NOT_RETRYABLE)])
    lifecycle.settle_all(**lead)
    assert _statuses(chain) == ["DEAD", "CANCELLED", "CANCELLED", "PENDING"]
    question = html(operator.post(verb_of(chain[2], "retry_workflow")))
    assert f"Run 1 task of the workflow of act …{str(chain[2].pk)[-8:]} again?" in question
    # The children follow: nothing is skipped.
    assert re.findall(r'data-label="(?:Linked|Will run again|Will follow|Skipped)">(\d)<', question) == list("20201100")
    answer = operator.post(verb_of(chain[2], "retry_workflow"), CONFIRMED, follow=True)
    assert messages_of(answer) == ["1 task set to run again."]
    lifecycle.settle_all(**lead)
    assert _statuses(chain) == ["PENDING", "BLOCKED", "BLOCKED", "PENDING"]


@pytest.mark.parametrize("status", list(Status))
def test_the_confirmation_counts_what_a_retry_of_a_workflow_runs_again(worker, status):
    task = factories.make_task(status, worker=worker)
    counted = Task.objects.filter(pk=task.pk).retryable_with_workflow().count()
    assert counted == len(lifecycle.retry_workflow([task.pk]))


@pytest.mark.parametrize("verb", VERBS)
def test_whoever_may_not_use_the_verb_on_a_task_may_not_on_its_workflow(viewer, chain, verb):
    assert verb_of(chain[0], verb) not in html(viewer.get(page_of(chain[0])))
    assert viewer.post(verb_of(chain[0], verb), CONFIRMED).status_code == 403
    assert _statuses(chain) == ["PENDING", "BLOCKED", "BLOCKED", "PENDING"]


def test_the_verbs_are_offered_on_linked_tasks_only_and_not_above_lists(operator, chain):
    for task, is_linked in zip(chain, (True, True, True, False), strict=True):
        page = html(operator.get(page_of(task)))
        assert [verb_of(task, verb) in page for verb in VERBS] == [is_linked, False]
    assert not any(f'value="{verb}"' in html(operator.get(list_of(Task))) for verb in VERBS)


def test_what_has_nothing_left_to_do_is_not_offered(operator, chain, monkeypatch):
    lifecycle.cancel_workflow([task.pk for task in chain[:3]])
    page = html(operator.get(page_of(chain[1])))
    assert [verb_of(chain[1], verb) in page for verb in VERBS] == [False, True]
    # It would take too long to look at all of them.
    monkeypatch.setattr("tasks.admin.task_verbs._MOST_LOOKED_AT", 2)
    assert verb_of(chain[1], "cancel_workflow") in html(operator.get(page_of(chain[1])))


def test_a_workflow_that_is_too_large_is_refused_as_a_whole(operator, chain, monkeypatch):
    for module in (dependencies, workflows):
        monkeypatch.setattr(module, "MOST_IN_WORKFLOW", 2)
    answer = operator.post(verb_of(chain[0], "cancel_workflow"), CONFIRMED, follow=True)
    assert messages_of(answer)[0].startswith("Nothing was done: expected a workflow of at most 2 tasks")
    assert _statuses(chain) == ["PENDING", "BLOCKED", "BLOCKED", "PENDING"]
