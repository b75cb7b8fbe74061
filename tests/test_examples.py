"""The flows in ``examples/`` do what their pages say."""

from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import User

from tasks import current, lifecycle
from tasks.models import Task
from tasks.states import DeathReason, Status
from tasks.testing import drain

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def actors() -> Any:
    """Declare the actors of the examples for one test."""
    known = dramatiq.get_broker().actors
    before = dict(known)
    from examples.approval import actors as approval
    from examples.resumable_import import actors as resumable_import

    for module in (approval, resumable_import):
        for actor in vars(module).values():
            if isinstance(actor, dramatiq.Actor) and actor.actor_name not in known:
                dramatiq.get_broker().declare_actor(actor)
    yield
    known.clear()
    known.update(before)


def latest() -> Task:
    return Task.objects.newest_first()[0]


def test_the_import_continues_where_it_stood(monkeypatch) -> None:
    from examples.resumable_import import actors as module

    def break_once(number: int, count: int, note: str, tell: Any = current.progress) -> None:
        if number == 3 and current.attempt() == 1:
            raise RuntimeError("the worker is lost")
        tell(number, count, note)

    monkeypatch.setattr(current, "progress", break_once)
    module.import_users.send(count=5, seconds_each=0)
    drain(until=timedelta(days=1))
    task = latest()
    assert (task.status, task.result, task.attempt) == (Status.SUCCEEDED, 5, 2)
    assert User.objects.filter(username__startswith="imported-").count() == 5


def test_the_payment_waits_for_its_approval() -> None:
    from examples.approval.actors import pay_invoice

    pay_invoice.send(number="4711", amount=100)
    drain()
    assert latest().status == Status.PENDING
    lifecycle.signal(latest().pk, "approved", {"by": "ada"})
    drain(until=timedelta(minutes=1))
    assert latest().result == {"invoice": "4711", "receipt": "paid R-100", "decision": {"by": "ada"}}


def test_the_payment_gives_up_when_nobody_approves() -> None:
    from dlq.models import DeadLetter
    from examples.approval.actors import pay_invoice

    pay_invoice.send(number="4711", amount=100)
    drain(until=timedelta(days=4))
    assert latest().error == "GiveUp: nobody approved invoice 4711"
    assert DeadLetter.objects.get().reason == DeathReason.GAVE_UP
