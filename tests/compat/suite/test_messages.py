"""Messages and how they are written down; after Dramatiq's ``test_messages``, ``test_encoders`` and ``test_common``."""

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dramatiq
import pytest
from django.db.models.functions import Now
from dramatiq import Message
from dramatiq.errors import DecodeError
from dramatiq.middleware import CurrentMessage

from tasks.errors import InvalidTask, NotSupported
from tasks.models import Queue, Task
from tasks.states import Status

seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@pytest.fixture
def look() -> Any:
    """An actor that keeps its message."""

    @dramatiq.actor
    def look(*args: Any, **kwargs: Any) -> None:
        seen.append(CurrentMessage.get_current_message())

    return look


def test_a_message_is_a_dict_too(look) -> None:
    message = look.message(1)
    assert message.asdict() == message._asdict()
    assert list(message.asdict()) == [
        *("queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"),
    ]


def test_a_message_can_be_replaced_in_parts(look) -> None:
    assert look.message(1)._replace(queue_name="other").queue_name == "other"


def test_a_copy_adds_options_and_keeps_the_others(look) -> None:
    message = look.message_with_options(args=(1,), mine=1)
    copy = message.copy(options={"yours": 2})
    assert (copy.options, copy.args, message.options) == ({"mine": 1, "yours": 2}, (1,), {"mine": 1})


def test_a_message_is_encoded_and_decoded(look) -> None:
    message = look.message(1, a={"b": [None, 1.5, "ü"]})
    assert Message.decode(message.encode()) == message


def test_what_is_no_message_is_not_decoded() -> None:
    with pytest.raises(DecodeError):
        Message.decode(b"{")


def test_a_message_is_printed_as_a_call(look) -> None:
    assert str(look.message(1, a="x")) == "look(1, a='x')"


def test_a_message_tells_its_time(look) -> None:
    sent, now = look.send(1), datetime.now(UTC)
    assert sent.message_datetime.tzinfo is not None
    assert now - timedelta(seconds=5) < sent.message_datetime <= now
    assert sent.message_datetime.timestamp() == sent.message_timestamp / 1000


def test_messages_have_an_order(look) -> None:
    assert sorted([look.message(2), look.message(1)])[0].args == (1,)


@pytest.mark.differs("a running message is printed with its id, because its arguments must not get into logs")
def test_the_message_that_runs_is_printed_like_the_one_that_was_sent(run, look) -> None:
    sent = look.send("secret")
    run()
    assert str(seen[0]) == f"look[{sent.message_id}]"
    assert "secret" not in repr(seen[0])


def test_the_message_that_runs_is_the_one_that_was_sent(run, look) -> None:
    sent = [look.send(1), look.send(2, a=3)]
    run()
    assert [(one.message_id, tuple(one.args), one.kwargs) for one in seen] == [
        (one.message_id, one.args, one.kwargs) for one in sent
    ]


def test_outside_of_an_actor_no_message_runs(run, look) -> None:
    look.send()
    run()
    assert CurrentMessage.get_current_message() is None


def test_an_id_of_ones_own_is_kept(run, look) -> None:
    dramatiq.get_broker().enqueue(look.message().copy(message_id="order-7"))
    run()
    assert [one.message_id for one in seen] == ["order-7"]


def test_options_of_ones_own_reach_the_actor(run, look) -> None:
    look.send_with_options(tenant="acme")
    run()
    assert seen[0].options["tenant"] == "acme"


def test_a_message_can_be_sent_to_another_queue(run, look) -> None:
    dramatiq.actor(actor_name="slow_one", queue_name="slow")(lambda: None)
    Queue.objects.get_or_create(name="slow")
    sent = dramatiq.get_broker().enqueue(look.message().copy(queue_name="slow"))
    assert run(sent).queue == "slow"
    assert seen[0].queue_name == "slow"


def test_a_message_can_be_built_by_hand(run, look) -> None:
    dramatiq.get_broker().enqueue(Message("default", "look", (1,), {"a": 2}, {}))
    run()
    assert (tuple(seen[0].args), seen[0].kwargs) == ((1,), {"a": 2})


@pytest.mark.parametrize("past", [0, -5, -1e18])
def test_an_eta_in_the_past_is_now(run, look, past: Any) -> None:
    assert run(dramatiq.get_broker().enqueue(look.message().copy(options={"eta": past}))).status == Status.SUCCEEDED


def test_an_eta_in_the_future_is_kept(look) -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    message = look.message().copy(options={"eta": int(moment.timestamp() * 1000)})
    task = Task.objects.get(pk=dramatiq.get_broker().enqueue(message).message_id)
    assert abs((task.run_at - moment).total_seconds()) < 1
    assert not Task.objects.filter(pk=task.pk, run_at__lte=Now()).exists()


@pytest.mark.parametrize("eta", ["tomorrow", [], float("nan")])
def test_an_eta_that_is_no_time_is_refused(look, eta: Any) -> None:
    with pytest.raises(InvalidTask, match="eta"):
        dramatiq.get_broker().enqueue(look.message().copy(options={"eta": eta}))


# --- Encoders ---


@pytest.fixture
def pickled() -> Iterator[Any]:
    """Let Dramatiq pickle its messages."""
    usual = dramatiq.get_encoder()
    dramatiq.set_encoder(dramatiq.PickleEncoder())
    yield dramatiq.get_encoder()
    dramatiq.set_encoder(usual)


def test_the_encoder_is_that_of_the_process(pickled) -> None:
    assert isinstance(dramatiq.get_encoder(), dramatiq.PickleEncoder)
    assert pickle.loads(dramatiq.Message("q", "a", (), {}, {}).encode())["queue_name"] == "q"  # noqa: S301


@pytest.mark.differs("payloads are JSON: another encoder is refused when a message is sent")
def test_messages_can_be_pickled(look, pickled) -> None:
    with pytest.raises(NotSupported, match="PickleEncoder"):
        look.send(1)
    assert not Task.objects.exists()


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "ü", [1, [2]], {"a": {"b": []}}])
def test_json_values_arrive_as_they_were_sent(run, look, value: Any) -> None:
    run(look.send(value))
    assert list(seen[0].args) == [value]


def test_tuples_arrive_as_lists(run, look) -> None:
    run(look.send((1, 2)))
    assert list(seen[0].args) == [[1, 2]]
