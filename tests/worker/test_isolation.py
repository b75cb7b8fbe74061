"""Quarantined tasks: each runs alone, and other tasks and other processes go on."""

import threading
from typing import Any

import pytest

from tasks import lifecycle
from tasks.conf import conf
from tasks.lifecycle import workers
from tasks.states import Status
from tasks.worker import isolation
from tests.factories import make_worker, submit
from tests.worker.manual import crashed_task, status


def test_a_task_that_one_more_crash_does_not_kill_runs_like_any_other(manual) -> None:
    neighbour, task = submit(priority=7), crashed_task(crashes=1)
    manual.publish(neighbour, task)
    assert [manual.next().message_id for _ in range(2)] == [str(neighbour.pk), str(task.pk)]


def test_a_quarantined_task_waits_until_all_others_have_ended_and_then_runs_alone(manual) -> None:
    neighbour, alone, later = submit(priority=7), crashed_task(), submit()
    manual.publish(neighbour, alone)
    beside = manual.next()
    manual.publish(later)
    assert next(manual.consumer) is None
    manual.consumer.ack(beside)
    message = manual.next()
    assert message.message_id == str(alone.pk)
    assert next(manual.consumer) is None
    assert manual.depth == 1
    manual.consumer.ack(message)
    assert manual.next().message_id == str(later.pk)


def test_quarantined_tasks_run_one_by_one(manual) -> None:
    tasks = [crashed_task() for _ in range(2)]
    manual.publish(*tasks)
    assert next(manual.consumer) is None
    first = manual.next()
    assert next(manual.consumer) is None
    manual.consumer.ack(first)
    second = manual.next()
    assert {first.message_id, second.message_id} == {str(task.pk) for task in tasks}


def test_no_quarantined_task_starts_while_the_outcome_of_another_is_decided(manual, monkeypatch) -> None:
    # The user's code may crash the process there, and a task that had started would be blamed for it.
    started: list[Any] = []
    monkeypatch.setattr(manual.runtime.completer, "add", lambda _: started.append(next(manual.consumer)))
    manual.publish(*[crashed_task() for _ in range(2)])
    assert next(manual.consumer) is None
    manual.consumer.ack(manual.next())
    assert started == [None]
    manual.next()


def test_a_quarantined_task_starts_when_the_outcomes_of_ended_runs_are_written(manual) -> None:
    # If it crashes the process, an outcome that is not written is lost, and its task runs again.
    neighbour = submit(priority=7)
    manual.publish(neighbour, crashed_task())
    manual.consumer.ack(manual.next())
    alone = manual.next().execution
    seen: list[str] = []

    def begin() -> None:
        manual.inflight.start(alone)
        seen.append(status(neighbour))

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    manual.runtime.completer.start()
    thread.join(10)
    assert manual.runtime.completer.stop(10)
    assert seen == [Status.RETRYING]


@pytest.mark.parametrize("crashes", [0, 1, 2])
def test_only_a_task_that_has_seen_a_crash_waits_for_the_outcomes_of_others(manual, monkeypatch, crashes: int) -> None:
    waits: list[float] = []
    monkeypatch.setattr(manual.runtime.completer, "flush", waits.append)
    manual.publish(crashed_task(crashes))
    message = next(manual.consumer) or manual.next()
    manual.inflight.start(message.execution)
    # Shorter than the lease, or the task would start when another worker has it.
    assert waits == ([conf.WORKER_LEASE_SECONDS / 2] if crashes else [])


def test_quarantined_tasks_that_wait_are_put_back_when_the_worker_drains_or_loses_its_lease(manual) -> None:
    for end in (lambda: setattr(manual.runtime.heartbeat, "_trusted_until", 0), manual.runtime.drain.begin):
        neighbour, alone = submit(priority=7), crashed_task()
        manual.publish(neighbour, alone)
        manual.inflight.start(manual.next().execution)
        end()
        assert next(manual.consumer) is None
        assert (status(alone), status(neighbour)) == (Status.PENDING, Status.RUNNING)
        lifecycle.cancel(alone.pk)
        manual.runtime.heartbeat._trusted_until = float("inf")
        manual.inflight.slots.release()


def test_a_quarantined_task_does_not_keep_a_process_for_long_while_others_run(manual, monkeypatch) -> None:
    monkeypatch.setattr(isolation, "WAIT_FOR_OTHERS_SECONDS", 0.1)
    neighbour, alone = submit(priority=7), crashed_task()
    manual.consumer._isolation = isolation.Isolation(manual.inflight)
    manual.publish(neighbour, alone)
    manual.inflight.start(manual.next().execution)
    while status(alone) == Status.RUNNING:
        assert next(manual.consumer) is None
    assert (status(alone), alone.failures, alone.crashes) == (Status.PENDING, 0, 2)
    assert status(neighbour) == Status.RUNNING
    # Meanwhile the process runs other tasks.
    manual.publish(submit("note"))
    assert manual.next().actor_name == "note"


def test_only_half_of_the_workers_run_quarantined_tasks_and_the_others_go_on(manual) -> None:
    other = make_worker()
    assert workers.begin_isolation(other.pk)
    alone, ordinary = crashed_task(), submit()
    manual.publish(alone, ordinary)
    manual.inflight.slots.release(0)
    assert manual.next().message_id == str(ordinary.pk)
    assert next(manual.consumer) is None
    assert status(alone) == Status.PENDING
    assert alone.run_at > alone.created_at, "with a delay, or this worker would claim it again at once"
    workers.end_isolation(other.pk)
    manual.publish(crashed_task())
    manual.inflight.put_back_waiting(longer_than=0)


def test_a_process_takes_turns_between_quarantined_and_other_tasks(manual, monkeypatch) -> None:
    monkeypatch.setattr(isolation, "TURN_SECONDS", 0.0)
    first, second, ordinary = crashed_task(), crashed_task(), submit()
    manual.publish(first, second)
    assert next(manual.consumer) is None
    message = manual.next()
    manual.publish(ordinary)
    assert next(manual.consumer) is None, "nothing runs beside it"
    manual.consumer.ack(message)
    assert manual.next().message_id == str(ordinary.pk)
    assert sorted([status(first), status(second)]) == [Status.PENDING, Status.RUNNING]


def test_a_quarantined_task_that_cannot_be_handed_out_does_not_keep_the_process_from_other_tasks(
    manual, monkeypatch
) -> None:
    manual.publish(crashed_task())
    assert next(manual.consumer) is None
    monkeypatch.delitem(manual.broker.actors, "act")
    assert next(manual.consumer) is None
    manual.publish(submit("note"))
    assert manual.next().actor_name == "note"
