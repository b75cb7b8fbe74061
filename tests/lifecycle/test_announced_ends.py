"""``tasks.signals``: receivers hear of each end once, after its commit, and can do no harm."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tasks import lifecycle
from tasks.lifecycle.announcements import transitioned
from tasks.models import Task
from tasks.signals import _relay, task_died, task_finished
from tasks.states import DeathReason, Status
from tests.factories import age, failure, outcome, start, submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any, str]]]:
    found: list[tuple[str, Any, str]] = []

    def finished(*, task_id: Any, status: str, **_: Any) -> None:
        found.append(("finished", task_id, status))

    def died(*, task_id: Any, status: str, **_: Any) -> None:
        found.append(("died", task_id, status))

    task_finished.connect(finished)
    task_died.connect(died)
    yield found
    task_finished.disconnect(finished)
    task_died.disconnect(died)
    transitioned.disconnect(_relay)


def test_each_end_is_heard_once_and_nothing_else(heard, worker, lead, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        good, bad, retried, gone, old = (submit(max_age_seconds=60) for _ in range(5))
        claims = [start(task, worker) for task in (good, bad, retried)]
        ends = [outcome(claims[0], worker), failure(claims[1], worker, death=DeathReason.NOT_RETRYABLE)]
        lifecycle.complete_many([*ends, failure(claims[2], worker, retry_delay_seconds=60)])
        lifecycle.cancel(gone.pk)
        age(old, expires_at=timedelta(days=1))
        lifecycle.expire_many(**lead)
        assert heard == [], "nothing is sent before the commit"
    assert sorted(heard, key=str) == sorted(
        [
            ("finished", good.pk, Status.SUCCEEDED),
            ("finished", bad.pk, Status.DEAD),
            ("died", bad.pk, Status.DEAD),
            ("finished", gone.pk, Status.CANCELLED),
            ("finished", old.pk, Status.DEAD),
            ("died", old.pk, Status.DEAD),
        ],
        key=str,
    )


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit("no")])
def test_a_receiver_that_raises_does_no_harm(heard, django_capture_on_commit_callbacks, error: BaseException) -> None:
    def broken(**_: Any) -> None:
        raise error

    task_finished.connect(broken)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            task = submit()
            lifecycle.cancel(task.pk)
    finally:
        task_finished.disconnect(broken)
    assert Task.objects.get().status == Status.CANCELLED
    assert ("finished", task.pk, Status.CANCELLED) in heard


def test_without_receivers_lifecycle_is_not_listened_to() -> None:
    assert not any(lookup[0][0] == id(_relay) for lookup in transitioned.receivers)
