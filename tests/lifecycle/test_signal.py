"""signal: what is kept for a task, what is refused, and that no signal is lost at the end of an attempt."""

from uuid import UUID

import pytest
from django.utils import timezone

from tasks import lifecycle
from tasks.errors import IllegalTransition, InvalidTask, NotFound
from tasks.lifecycle.signal import signal
from tasks.models import Step
from tasks.states import AttemptOutcome, Status
from tests.factories import make_task, outcome, start, submit

pytestmark = pytest.mark.django_db


def test_a_task_that_has_ended_or_does_not_exist_takes_no_signal() -> None:
    task = make_task(Status.SUCCEEDED)
    with pytest.raises(IllegalTransition, match="cannot signal a task that is SUCCEEDED"):
        signal(task.pk, "approved")
    with pytest.raises(NotFound):
        signal(UUID(int=7), "approved")
    assert not Step.objects.exists()


def test_a_signal_between_the_look_and_the_end_of_the_attempt_is_not_lost(worker) -> None:
    task = submit()
    claimed = start(task, worker)
    Step.objects.create(task=task, kind="WAIT", name="approved")
    # The actor has looked and found nothing.
    signal(task.pk, "approved")
    ended = outcome(claimed, worker, ended_as=AttemptOutcome.SNOOZED, retry_delay_seconds=1e6, waits_for="approved")
    lifecycle.complete_many([ended])
    task.refresh_from_db()
    assert (task.status, task.run_at <= timezone.now()) == (Status.PENDING, True)


@pytest.mark.parametrize(
    ("name", "payload", "field"),
    [
        ("", None, "signal"),
        ("x" * 101, None, "signal"),
        ("a\nb", None, "signal"),
        ("a\0", None, "signal"),
        (7, None, "signal"),
        (None, None, "signal"),
        ("approved", "\0", "payload"),
        ("approved", "x" * 100_000, "payload"),
        ("approved", float("nan"), "payload"),
        ("approved", {1, 2}, "payload"),
        ("approved", object(), "payload"),
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_a_signal_from_code_with_other_arguments_is_refused_by_their_names(name, payload, field) -> None:
    task = submit()
    with pytest.raises(InvalidTask, match=field) as refused:
        signal(task.pk, name, payload)
    assert [error.field.split(".")[0] for error in refused.value.errors] == [field]
    assert not Step.objects.exists()


def test_a_signal_to_what_is_no_id_is_refused() -> None:
    with pytest.raises(InvalidTask, match="task_id: expected the id of a task, a UUID, got 'abc'"):
        signal("abc", "approved")  # type: ignore[arg-type]
