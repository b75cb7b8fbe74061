"""What is told of an outcome; after Dramatiq's ``test_callbacks``."""

from typing import Any

import dramatiq
import pytest

from tasks.models import Task
from tasks.states import Status

told: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    told.clear()


@pytest.fixture
def tell() -> Any:
    """An actor that is called back."""

    @dramatiq.actor
    def tell(message: dict[str, Any], what: Any) -> None:
        told.append((message["actor_name"], message["args"], what))

    return tell


@pytest.fixture
def plus() -> Any:
    """An actor that succeeds."""
    return dramatiq.actor(actor_name="plus")(lambda x, y: x + y)


@pytest.fixture
def fails() -> Any:
    """An actor that dies at once."""

    def fails() -> None:
        raise ValueError("no")

    return dramatiq.actor(max_retries=0)(fails)


def test_a_success_calls_back_an_actor(run, plus, tell) -> None:
    run(plus.send_with_options(args=(1, 2), on_success=tell))
    assert [(name, list(args), what) for name, args, what in told] == [("plus", [1, 2], 3)]


def test_a_success_calls_back_a_named_actor(run, plus, tell) -> None:
    run(plus.send_with_options(args=(1, 2), on_success="tell"))
    assert told[0][2] == 3


def test_a_failure_calls_back_an_actor(run, fails, tell) -> None:
    run(fails.send_with_options(on_failure=tell))
    assert told == [("fails", [], {"type": "ValueError", "message": "no"})]


def test_a_failure_calls_back_a_named_actor(run, fails, tell) -> None:
    run(fails.send_with_options(on_failure="tell"))
    assert len(told) == 1


def test_each_failure_calls_back(run, tell) -> None:
    @dramatiq.actor(max_retries=2)
    def work() -> None:
        raise ValueError

    run(work.send_with_options(on_failure="tell"))
    assert len(told) == 3


def test_a_callback_can_be_an_option_of_the_actor(run, tell) -> None:
    run(dramatiq.actor(actor_name="work", on_success="tell")(lambda: 1).send())
    assert told == [("work", [], 1)]


def test_a_message_names_another_than_the_actor(run, tell) -> None:
    dramatiq.actor(actor_name="other")(lambda message, what: told.append("other"))
    run(dramatiq.actor(actor_name="work", on_success="tell")(lambda: 1).send_with_options(on_success="other"))
    assert told == ["other"]


def test_a_success_does_not_call_back_for_a_failure(run, plus, tell) -> None:
    run(plus.send_with_options(args=(1, 2), on_failure="tell"))
    assert told == []


def test_a_failure_does_not_call_back_for_a_success(run, fails, tell) -> None:
    run(fails.send_with_options(on_success="tell"))
    assert told == []


@pytest.mark.parametrize("option", ["on_success", "on_failure"])
def test_a_function_is_no_callback(plus, option: str) -> None:
    with pytest.raises(TypeError, match=option):
        plus.send_with_options(args=(1, 2), **{option: lambda *_: None})
    assert not Task.objects.exists()


def test_a_callback_that_fails_leaves_the_success(run, plus) -> None:
    @dramatiq.actor(max_retries=0)
    def breaks(message: Any, result: Any) -> None:
        raise RuntimeError

    sent = plus.send_with_options(args=(1, 2), on_success="breaks")
    run()
    assert Task.objects.get(pk=sent.message_id).status == Status.SUCCEEDED


@pytest.mark.differs("a callback that nobody declares is refused when the message is sent")
def test_an_undeclared_callback_is_an_error_in_the_log(plus) -> None:
    with pytest.raises(Exception, match="nobody"):
        plus.send_with_options(args=(1, 2), on_success="nobody")
