"""``current.callback_of``: a callback knows its batch; and a drain runs a batch to its end."""

import pytest

from tasks.lifecycle import NewBatch, Submission, batches
from tasks.models import Task
from tasks.testing import drain
from tests.factories import submit

pytestmark = pytest.mark.django_db


def test_a_callback_knows_its_batch_and_a_drain_runs_it() -> None:
    act = Submission(actor="act", payload={"do": "return"})
    wanted = NewBatch(tasks=[act, act], callbacks={"on_success": Submission(actor="tell_batch")})
    batch = batches.create(wanted).batch
    drain()
    batch.refresh_from_db()
    assert Task.objects.get(pk=batch.called["on_success"]).result == [str(batch.pk), 2]


def test_a_task_that_no_batch_has_submitted_is_told_so() -> None:
    task = submit("tell_batch")
    drain()
    task.refresh_from_db()
    assert task.result == []
