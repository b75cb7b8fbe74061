"""Pipelines and groups; after Dramatiq's ``test_composition``."""

from typing import Any

import dramatiq
import pytest
from dramatiq import group, pipeline
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import StubBackend
from dramatiq.results import ResultFailure, ResultMissing, ResultTimeout

from tasks.models import Task
from tasks.states import Status
from tasks.testing import drain

got: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_got() -> None:
    got.clear()


@pytest.fixture
def plus() -> Any:
    """An actor that adds."""
    return dramatiq.actor(actor_name="plus", store_results=True, max_retries=0)(lambda x, y: x + y)


@pytest.fixture
def keep() -> Any:
    """An actor that keeps what it is called with."""
    return dramatiq.actor(actor_name="keep")(lambda *args: got.append(args))


@pytest.fixture
def fails() -> Any:
    """An actor that dies at once."""

    @dramatiq.actor(max_retries=0)
    def fails(*_: Any) -> None:
        raise ValueError("no")

    return fails


# --- Pipelines ---


def test_messages_can_be_piped(plus) -> None:
    pipe = plus.message(1, 2) | plus.message(3) | plus.message(4)
    assert isinstance(pipe, pipeline)
    first, second, third = pipe.messages
    assert first.options["pipe_target"] == second.asdict()
    assert second.options["pipe_target"] == third.asdict()
    assert "pipe_target" not in third.options


def test_pipelines_in_pipelines_become_flat(plus) -> None:
    pipe = pipeline([plus.message(1, 2), plus.message(3) | plus.message(4), plus.message(5)])
    assert [one.args for one in pipe.messages] == [(1, 2), (3,), (4,), (5,)]
    assert len(pipe) == 4


def test_a_pipeline_passes_results_on(run, plus) -> None:
    pipe = (plus.message(1, 2) | (plus.message(3) | plus.message(4))).run()
    run()
    assert pipe.get_result() == 10
    assert list(pipe.get_results()) == [3, 6, 10]


def test_a_result_comes_after_the_arguments(run, plus, keep) -> None:
    (plus.message(1, 2) | keep.message("a", "b")).run()
    run()
    assert got == [("a", "b", 3)]


def test_none_is_passed_on_too(run, keep) -> None:
    nothing = dramatiq.actor(actor_name="nothing")(lambda: None)
    (nothing.message() | keep.message("a")).run()
    run()
    assert got == [("a", None)]


def test_a_message_can_ignore_the_result_before_it(run, plus, keep) -> None:
    (plus.message(1, 2) | keep.message_with_options(args=("only",), pipe_ignore=True)).run()
    run()
    assert got == [("only",)]


def test_an_actor_can_have_its_result_ignored(run, keep) -> None:
    first = dramatiq.actor(actor_name="first", pipe_ignore=True)(lambda: 1)
    (first.message() | keep.message("only")).run()
    run()
    assert got == [("only",)]


def test_a_pipeline_ends_at_a_failure(run, fails, keep) -> None:
    (fails.message() | keep.message()).run()
    run()
    assert got == []
    assert Task.objects.count() == 1


def test_a_pipeline_goes_on_after_a_retry(run, keep) -> None:
    tries: list[int] = []

    @dramatiq.actor
    def flaky() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError
        return 5

    (flaky.message() | keep.message()).run()
    run()
    assert got == [(5,)]


def test_a_pipeline_can_be_delayed(plus, keep) -> None:
    (plus.message(1, 2) | keep.message()).run(delay=60_000)
    drain()
    assert not Task.objects.filter(status=Status.SUCCEEDED).exists()


def test_the_longer_of_two_delays_counts(plus) -> None:
    (plus.message_with_options(args=(1, 2), delay=90_000) | plus.message(3)).run(delay=1_000)
    task = Task.objects.get()
    assert (task.run_at - task.created_at).total_seconds() > 80


def test_a_later_message_of_a_pipeline_can_be_delayed(plus, keep) -> None:
    (plus.message(1, 2) | keep.message_with_options(delay=90_000)).run()
    drain()
    task = Task.objects.get(actor="keep")
    assert task.status == Status.PENDING
    assert (task.run_at - task.created_at).total_seconds() > 80


def test_a_pipeline_can_be_run_again(run, plus) -> None:
    pipe = plus.message(1, 2) | plus.message(3)
    pipe.run()
    pipe.run()
    assert sorted(task.result for task in run()) == [3, 3, 6, 6]


def test_waiting_for_a_pipeline_can_time_out(plus) -> None:
    pipe = (plus.message(1, 2) | plus.message(3)).run()
    with pytest.raises(ResultTimeout):
        list(pipe.get_results(block=True, timeout=10))


def test_a_pipeline_counts_what_is_completed(plus) -> None:
    pipe = (plus.message(1, 2) | plus.message_with_options(args=(3,), delay=60_000)).run()
    assert (pipe.completed_count, pipe.completed) == (0, False)
    drain()
    assert (pipe.completed_count, pipe.completed) == (1, False)


def test_a_pipeline_that_has_ended_is_completed(run, plus) -> None:
    pipe = (plus.message(1, 2) | plus.message(3)).run()
    run()
    assert (pipe.completed_count, pipe.completed) == (2, True)


def test_the_result_of_a_pipeline_can_be_missing(plus) -> None:
    with pytest.raises(ResultMissing):
        (plus.message(1, 2) | plus.message(3)).run().get_result()


# --- Groups ---


def test_a_group_has_the_results_of_its_messages(run, plus) -> None:
    work = group(plus.message(n, n) for n in range(4)).run()
    run()
    assert list(work.get_results()) == [0, 2, 4, 6]


def test_groups_may_be_in_groups(run, plus) -> None:
    work = group(group(plus.message(n, m) for m in range(2)) for n in range(3)).run()
    run()
    assert list(work.get_results()) == [[0, 1], [1, 2], [2, 3]]


def test_pipelines_may_be_in_groups(run, plus) -> None:
    work = group([plus.message(1, 1) | plus.message(1), plus.message(5, 5)]).run()
    run()
    assert list(work.get_results()) == [3, 10]


def test_a_group_has_a_size(plus) -> None:
    assert len(group([plus.message(1, 1), plus.message(2, 2)])) == 2


def test_a_group_can_be_delayed(plus) -> None:
    group([plus.message(1, 1), plus.message(2, 2)]).run(delay=60_000)
    assert drain() == []


def test_a_group_counts_what_is_completed(run, plus) -> None:
    work = group([plus.message(1, 1), plus.message_with_options(args=(2, 2))])
    assert work.completed_count == 0
    work.run()
    run()
    assert (work.completed_count, work.completed) == (2, True)


def test_waiting_for_a_group_can_time_out(plus) -> None:
    work = group([plus.message(1, 1)]).run()
    with pytest.raises(ResultTimeout):
        work.wait(timeout=10)
    assert not work.completed


def test_waiting_for_a_group_that_has_ended_returns(run, plus) -> None:
    work = group([plus.message(1, 1)]).run()
    run()
    work.wait(timeout=1_000)


def test_a_failure_in_a_group_is_raised(run, plus, fails) -> None:
    work = group([plus.message(1, 1), fails.message()]).run()
    run()
    with pytest.raises(ResultFailure, match="no"):
        list(work.get_results())


# --- Callbacks of groups ---


def test_a_group_calls_back_once_when_all_have_succeeded(run, plus, keep) -> None:
    work = group(plus.message(n, 1) for n in range(5))
    work.add_completion_callback(keep.message("all"))
    work.run()
    run()
    assert got == [("all",)]


def test_a_group_may_call_back_twice(run, plus, keep) -> None:
    work = group([plus.message(1, 1)])
    work.add_completion_callback(keep.message("a"))
    work.add_completion_callback(keep.message("b"))
    work.run()
    run()
    assert sorted(got) == [("a",), ("b",)]


def test_a_group_does_not_call_back_before_the_last(plus, keep) -> None:
    work = group([plus.message(1, 1), plus.message(2, 2)])
    work.add_completion_callback(keep.message())
    work.run()
    Task.objects.filter(pk=Task.objects.earliest("pk").pk).update(run_at="2999-01-01T00:00:00Z")
    drain()
    assert got == []


def test_a_group_with_a_failure_does_not_call_back(run, plus, fails, keep) -> None:
    work = group([plus.message(1, 1), fails.message()])
    work.add_completion_callback(keep.message())
    work.run()
    run()
    assert got == []


def test_pipelines_in_a_group_count_when_they_end(run, plus, keep) -> None:
    work = group([plus.message(1, 1) | plus.message(1), plus.message(2, 2) | plus.message(1)])
    work.add_completion_callback(keep.message("all"))
    work.run()
    run()
    assert got == [("all",)]


def test_a_group_that_runs_again_calls_back_again(run, plus, keep) -> None:
    work = group([plus.message(1, 1)])
    work.add_completion_callback(keep.message("all"))
    work.run()
    work.run()
    run()
    assert got == [("all",), ("all",)]


def test_groups_in_a_group_with_a_callback_are_refused(plus, keep) -> None:
    work = group([group([plus.message(1, 1)])])
    work.add_completion_callback(keep.message())
    with pytest.raises(NotImplementedError):
        work.run()
    assert not Task.objects.exists()


def test_a_group_works_with_the_stock_middleware(broker, run, plus, keep) -> None:
    broker.add_middleware(GroupCallbacks(StubBackend()))
    work = group([plus.message(1, 1)])
    work.add_completion_callback(keep.message("all"))
    work.run()
    run()
    assert got == [("all",)]


@pytest.mark.differs("the middleware for groups is always there")
def test_a_callback_without_the_middleware_is_an_error(run, plus, keep) -> None:
    work = group([plus.message(1, 1)])
    work.add_completion_callback(keep.message("all"))
    work.run()
    run()
    assert got == [("all",)]
