"""The admin's pages of batches."""

import pytest

from tasks.lifecycle import Submission
from tasks.models import Batch, Journal, Task
from tasks.states import BatchStatus, Status
from tests.admin.pages import html, list_of, page_of, verb_of
from tests.factories import make_batch

pytestmark = pytest.mark.django_db


def test_a_batch_shows_its_counts_its_tasks_and_what_it_calls_back(root, lead) -> None:
    act = Submission(actor="act", payload={"do": "return"})
    batch = make_batch(name="nightly", tasks=[act, act], callbacks={"on_success": act}, is_open=True)
    page = html(root.get(list_of(Batch)))
    assert "nightly" in page
    assert html(root.get(f"{list_of(Batch)}?status=FAILED")).count("nightly") == 0
    page = html(root.get(page_of(batch)))
    assert page_of(Task.objects.first()) in page
    assert "on success" in page.lower()
    root.post(verb_of(batch, "close"), {"confirmed": "1"})
    batch.refresh_from_db()
    assert batch.status == BatchStatus.RUNNING
    root.post(verb_of(batch, "cancel"), {"confirmed": "1", "reason": "started twice"})
    batch.refresh_from_db()
    assert (batch.cancelled_by, batch.cancel_reason) == ("root", "started twice")
    assert set(Task.objects.values_list("status", flat=True)) == {Status.CANCELLED}
    assert "started twice" in html(root.get(page_of(batch)))


def test_the_journal_counts_batches_in_the_plural(root) -> None:
    batches = [make_batch(is_open=True) for _ in range(2)]
    root.post(list_of(Batch), {"action": "close", "_selected_action": [one.pk for one in batches], "confirmed": "1"})
    assert ">2 batches<" in html(root.get(list_of(Journal)))
