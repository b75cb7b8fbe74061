"""The steps of batches: an old leader does none, and one that dies in a step leaves all of it to the next."""

from typing import Any

import pytest
from django.db import OperationalError, connection

from tasks import lifecycle
from tasks.lifecycle import batch_steps
from tasks.models import Batch
from tasks.states import BatchStatus
from tasks.testing import failpoints
from tests.lifecycle.test_batches import called, make_batch, run, settle

pytestmark = pytest.mark.django_db


def test_an_old_leader_changes_nothing(worker, lead) -> None:
    batch, (task,) = make_batch(1)
    run(task, worker)
    old: Any = {**lead, "term": lead["term"] + 1}
    assert lifecycle.settle_batches(**old).changed == 0
    assert batch_steps.fold_many(**lead) > 0
    assert batch_steps.end_many(**old) == 0
    assert called() == []
    assert settle(batch, lead) == BatchStatus.SUCCEEDED


@pytest.mark.parametrize("place", ["after_fold", "before_batch_end", "after_batch_end"])
def test_a_leader_that_dies_at_any_statement_leaves_each_callback_to_be_submitted_once(
    place, worker, lead, monkeypatch
) -> None:
    batch, (good, bad) = make_batch(2)
    run(good, worker)
    run(bad, worker, dies=True)
    monkeypatch.setattr(failpoints, "_active", failpoints._parse(f"{place}:error*1"))
    with pytest.raises(OperationalError):
        settle(batch, lead)
    assert called() == []
    assert (settle(batch, lead), called()) == (BatchStatus.FAILED, ["on_death", "on_complete"])


def test_a_callback_that_cannot_be_stored_does_not_keep_the_batch_open(worker, lead, caplog) -> None:
    batch, (task,) = make_batch(1)
    callbacks = {**batch.callbacks, "on_complete": {**batch.callbacks["on_complete"], "priority": 99}}
    Batch.objects.filter(pk=batch.pk).update(callbacks=callbacks)
    run(task, worker)
    assert (settle(batch, lead), called()) == (BatchStatus.SUCCEEDED, ["on_success"])
    assert batch.called["on_complete"] is None


def test_statements_of_the_leader_use_their_indexes(lead) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for name, index in (("_DUE", "batch_due_idx"), ("_CANCELLING", "batch_cancelling_idx")):
            cursor.execute(f"EXPLAIN {getattr(batch_steps, name)}", dict(lead))
            assert index in "\n".join(line for (line,) in cursor.fetchall())
