"""In-flight tasks: what a process holds, in what order threads get it, and when it is put back."""

import queue
import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from tasks import lifecycle
from tasks.models import new_id
from tasks.states import Status
from tasks.worker import consumer
from tasks.worker.execution import Execution
from tasks.worker.inflight import Inflight, PriorityWorkQueue
from tests.factories import imagine_claim, submit
from tests.worker.manual import fails_once, status

# --- Put back ---


def test_a_first_task_after_a_long_rest_is_not_put_back_before_a_thread_wakes(manual) -> None:
    manual.inflight._last_start = time.monotonic() - 3600
    task = submit()
    manual.publish(task)
    manual.put(manual.next())
    manual.inflight.put_back_waiting(longer_than=consumer.PUT_BACK_AFTER_SECONDS)
    assert status(task) == Status.RUNNING


def test_tasks_that_wait_while_no_thread_takes_any_are_put_back(manual) -> None:
    tasks = [submit() for _ in range(2)]
    manual.publish(*tasks)
    for _ in tasks:
        manual.put(manual.next())
    manual.inflight._last_start = time.monotonic() - 1
    next(manual.consumer)
    assert [status(task) for task in tasks] == [Status.PENDING] * 2
    assert (manual.inflight.keys, manual.inflight.unstarted, manual.inflight.slots.held) == ([], 0, 0)
    assert manual.worker.work_queue.unfinished_tasks == 0


def test_more_that_comes_while_something_waits_does_not_reset_the_clock(manual) -> None:
    first, second = submit(), submit()
    manual.publish(first)
    manual.put(manual.next())
    manual.inflight._last_start = time.monotonic() - 1
    manual.inflight.hold([])
    manual.publish(second)
    next(manual.consumer)
    assert status(first) == Status.PENDING


def test_a_task_that_has_started_is_not_put_back(manual) -> None:
    task = submit()
    manual.publish(task)
    manual.inflight.start(manual.next().execution)
    manual.inflight._last_start = 0
    manual.inflight.put_back_waiting(longer_than=0)
    assert status(task) == Status.RUNNING


def test_a_task_that_cannot_be_put_back_is_no_longer_held_so_that_the_heartbeat_finds_it(manual, monkeypatch) -> None:
    task = submit()
    manual.publish(task)
    manual.put(manual.next())
    fails_once(monkeypatch, lifecycle, "put_back_many", OperationalError("away"))
    manual.inflight.put_back_waiting(longer_than=0)
    assert status(task) == Status.RUNNING
    assert (manual.inflight.keys, manual.inflight.slots.held) == ([], 0)


# --- The work queue ---


def item(priority: int, name: object = None) -> Any:
    return SimpleNamespace(message=SimpleNamespace(priority=priority), name=name)


def test_work_comes_in_the_order_of_priorities() -> None:
    work = PriorityWorkQueue()
    for priority in (3, 10, 1, 7, 5):
        work.put(item(priority))
    assert [work.get_nowait().message.priority for _ in range(5)] == [10, 7, 5, 3, 1]


def test_work_of_one_priority_comes_in_the_order_of_its_arrival() -> None:
    work = PriorityWorkQueue()
    for name in range(100):
        work.put(item(5, name))
    assert [work.get_nowait().name for _ in range(100)] == list(range(100))


def test_the_work_queue_is_a_queue_like_any_other() -> None:
    work = PriorityWorkQueue()
    with pytest.raises(queue.Empty):
        work.get_nowait()
    work.put(item(1))
    assert (work.qsize(), work.unfinished_tasks) == (1, 1)
    work.get_nowait()
    work.task_done()
    work.join()


# --- From claim to outcome ---


class Recorder:
    """Collects the calls of a flight recorder's methods."""

    is_read = True

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.calls.append(name)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def held(recorder: Any) -> tuple[Inflight, Execution]:
    inflight = Inflight(new_id(), threads=2, recorder=recorder)
    execution = Execution(imagine_claim(), claimed_monotonic=0.0)
    inflight.hold([execution])
    return inflight, execution


def test_a_task_is_held_until_its_outcome_is_written_and_keeps_its_slot_until_that_is_freed(recorder) -> None:
    inflight, execution = held(recorder)
    assert (inflight.keys, inflight.unstarted, inflight.slots.held) == ([execution.key], 1, 1)
    inflight.start(execution)
    assert inflight.unstarted == 0
    inflight.end(execution)
    assert (inflight.ended, inflight.slots.held, execution.key in inflight) == (1, 1, True)
    inflight.forget([execution])
    assert (len(inflight), inflight.get(execution.key)) == (0, None)
    assert recorder.calls == ["start", "end", "forget"]


def test_a_task_that_is_about_to_start_is_neither_waiting_nor_running_yet(recorder) -> None:
    inflight, execution = held(recorder)
    seen: list[Any] = []
    inflight.before_start = lambda one: seen.append((one, inflight.unstarted, [*recorder.calls]))
    inflight.start(execution)
    assert seen == [(execution, 0, [])]
    assert recorder.calls == ["start"]


def test_a_message_that_never_started_can_end(recorder) -> None:
    inflight, execution = held(recorder)
    inflight.end(execution)
    assert (inflight.unstarted, inflight.keys) == (0, [execution.key])


@pytest.mark.parametrize(("is_stuck", "calls"), [(True, ["start", "mark_stuck"]), (False, ["start"])])
def test_a_task_that_resists_stays_held_and_is_not_recorded_as_ended(recorder, is_stuck: bool, calls: Any) -> None:
    inflight, execution = held(recorder)
    inflight.start(execution)
    inflight.end_resisting(execution, is_stuck=is_stuck)
    assert (inflight.keys, inflight.slots.held, inflight.ended) == ([execution.key], 0, 1)
    assert recorder.calls == calls
