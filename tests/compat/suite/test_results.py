"""What becomes of return values; after Dramatiq's ``test_results``."""

import logging
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from dramatiq.encoder import PickleEncoder
from dramatiq.results import ResultFailure, ResultMissing, Results, ResultTimeout
from dramatiq.results.backends import StubBackend

from tasks.models import Task
from tasks.states import Status
from tasks.testing import drain, travel


@pytest.fixture
def answer() -> Any:
    """An actor that returns 42."""
    return dramatiq.actor(actor_name="answer", store_results=True)(lambda: 42)


@pytest.fixture
def fails() -> Any:
    """An actor that dies at once."""

    @dramatiq.actor(store_results=True, max_retries=0)
    def fails() -> None:
        raise ValueError("no")

    return fails


@pytest.fixture
def backend(broker) -> Any:
    """A result backend of the team's own."""
    backend = StubBackend()
    broker.add_middleware(Results(backend=backend))
    return backend


def test_a_result_can_be_got_from_its_message(run, answer) -> None:
    sent = answer.send()
    run()
    assert sent.get_result() == 42


def test_a_result_can_be_waited_for(run, answer) -> None:
    sent = answer.send()
    run()
    assert sent.get_result(block=True, timeout=1_000) == 42


def test_a_result_can_be_got_twice(run, answer) -> None:
    sent = answer.send()
    run()
    assert [sent.get_result(), sent.get_result()] == [42, 42]


def test_a_result_can_be_missing(answer) -> None:
    with pytest.raises(ResultMissing):
        answer.send().get_result()


def test_a_result_can_be_late(answer) -> None:
    with pytest.raises(ResultTimeout):
        answer.send().get_result(block=True, timeout=10)


def test_a_result_can_be_none(run) -> None:
    sent = dramatiq.actor(actor_name="nothing", store_results=True)(lambda: None).send()
    run()
    assert sent.get_result() is None


def test_a_failure_is_a_result(run, fails) -> None:
    sent = fails.send()
    run()
    with pytest.raises(ResultFailure, match="actor raised ValueError: no") as told:
        sent.get_result()
    assert (told.value.orig_exc_type, told.value.orig_exc_msg) == ("ValueError", "no")


def test_a_failure_that_is_retried_is_no_result_yet() -> None:
    @dramatiq.actor(store_results=True, max_retries=1, min_backoff=60_000)
    def fails() -> None:
        raise ValueError

    sent = fails.send()
    drain()
    with pytest.raises(ResultMissing):
        sent.get_result()


def test_a_result_ends_with_its_time(run) -> None:
    sent = dramatiq.actor(actor_name="brief", store_results=True, result_ttl=1_000)(lambda: 1).send()
    run()
    assert sent.get_result() == 1
    Task.objects.update(finished_at=Task.objects.get().created_at.replace(year=2020))
    with pytest.raises(ResultMissing):
        sent.get_result()


def test_a_message_can_have_a_time_of_its_own_for_its_result(run, answer) -> None:
    sent = answer.send_with_options(result_ttl=1_000)
    run()
    Task.objects.update(finished_at=Task.objects.get().created_at.replace(year=2020))
    with pytest.raises(ResultMissing):
        sent.get_result()


def test_an_actor_may_store_nothing(run) -> None:
    assert run(dramatiq.actor(actor_name="secret", store_results=False)(lambda: 1).send()).result is None


def test_an_actor_that_returns_nothing_is_not_warned_of(run, caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="dramatiq"):
        run(dramatiq.actor(actor_name="nothing")(lambda: None).send())
    assert "discarded" not in caplog.text


def test_an_actor_that_stores_results_is_not_warned_of(run, answer, caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="dramatiq"):
        run(answer.send())
    assert "discarded" not in caplog.text


@pytest.mark.differs("results are kept in the task's row unless store_results=False, so nothing is discarded")
def test_a_result_that_nobody_stores_is_warned_of(run, caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="dramatiq"):
        sent = dramatiq.actor(actor_name="one")(lambda: 1).send()
        run()
    assert "discarded" not in caplog.text
    assert sent.get_result() == 1


@pytest.mark.differs("the task's row is always a result backend")
def test_without_a_backend_a_result_is_an_error(run) -> None:
    sent = dramatiq.actor(actor_name="one")(lambda: 1).send()
    with pytest.raises(ResultMissing):
        sent.get_result()


def test_a_value_that_is_no_json_harms_nobody(run) -> None:
    @dramatiq.actor
    def odd() -> object:
        return object()

    task = run(odd.send())
    assert (task.status, task.result) == (Status.SUCCEEDED, None)


# --- A backend of the team's own ---


def test_a_backend_stores_results(run, backend, answer) -> None:
    sent = answer.send()
    run()
    assert backend.get_result(sent) == 42


def test_a_message_can_get_its_result_from_a_backend(run, backend, answer) -> None:
    sent = answer.send()
    run()
    assert sent.get_result(backend=backend) == 42


def test_a_backend_stores_failures(run, backend, fails) -> None:
    sent = fails.send()
    run()
    with pytest.raises(ResultFailure, match="ValueError"):
        backend.get_result(sent)


def test_a_backend_can_miss_a_result(backend, answer) -> None:
    with pytest.raises(ResultMissing):
        backend.get_result(answer.send())


def test_a_backend_can_be_late(backend, answer) -> None:
    with pytest.raises(ResultTimeout):
        backend.get_result(answer.send(), block=True, timeout=10)


def test_a_backend_stores_only_what_wants_it(run, backend) -> None:
    sent = dramatiq.actor(actor_name="one")(lambda: 1).send()
    run()
    with pytest.raises(ResultMissing):
        backend.get_result(sent)


def test_a_message_can_ask_for_its_result_to_be_stored(run, backend) -> None:
    sent = dramatiq.actor(actor_name="one")(lambda: 1).send_with_options(store_results=True)
    run()
    assert backend.get_result(sent) == 1


def test_a_backend_may_have_an_encoder_of_its_own(broker, run) -> None:
    backend = StubBackend(encoder=PickleEncoder())
    broker.add_middleware(Results(backend=backend))
    sent = dramatiq.actor(actor_name="odd", store_results=True)(lambda: {1, 2}).send()
    run()
    assert backend.get_result(sent) == {1, 2}


def test_a_skipped_message_has_the_result_none(broker, run, backend, answer) -> None:
    class Skip(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            raise dramatiq.middleware.SkipMessage

    broker.add_middleware(Skip())
    sent = answer.send()
    run()
    assert backend.get_result(sent) is None


@pytest.mark.differs("a message that is too old dies in SQL, and no hook is called")
def test_a_message_that_is_too_old_has_a_failure_as_its_result(backend, answer) -> None:
    sent = answer.send_with_options(max_age=1_000)
    with travel(by=timedelta(seconds=5)):
        drain()
    with pytest.raises(ResultMissing):
        backend.get_result(sent)
    with pytest.raises(ResultFailure, match="age"):
        sent.get_result()
