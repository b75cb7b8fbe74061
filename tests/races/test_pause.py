"""A pause against the dispatcher: tasks that the pause took back must not be dispatched again."""

from tasks import lifecycle
from tasks.lifecycle import queues
from tasks.models import Task
from tasks.states import Status
from tests.factories import dispatch_due, make_worker, submit


def test_a_pause_takes_back_tasks_that_are_being_dispatched(race, lead) -> None:
    worker = make_worker()
    submit()
    hints, _ = race.while_open(dispatch_due, lambda: queues.pause("default"))
    assert len(hints) == 1
    assert Task.objects.get().status == Status.PENDING
    assert lifecycle.claim_many(hints, worker_id=worker.pk) == []


def test_a_dispatcher_does_not_wait_for_a_pause_that_is_not_committed_and_hands_nothing_over(race, lead) -> None:
    make_worker()
    submit()
    submit("elsewhere", payload={})
    _, found = race.while_open(
        lambda: queues.pause("default"),
        lambda: (dispatch_due(), dispatch_due("other", actors=("elsewhere",))),
    )
    assert [len(hints) for hints in found] == [0, 1]
