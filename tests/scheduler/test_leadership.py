"""Leadership: one scheduler leads while it can be sure of it, and a former leader changes nothing."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import F

from tasks import lifecycle
from tasks.db import statements
from tasks.lifecycle import Probe, Share, leases
from tasks.models import Lease, Term, new_id
from tasks.scheduler import leadership as module
from tasks.scheduler.leadership import LEASE, Leadership
from tests.factories import database_now, submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(monkeypatch, settings) -> Any:
    settings.LEADER_LEASE_SECONDS = 10
    made = SimpleNamespace(now=1000.0)
    made.monotonic = lambda: made.now
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def one(clock) -> Leadership:
    return Leadership()


@pytest.fixture
def other(clock) -> Leadership:
    return Leadership()


def let_lease_run_out() -> None:
    Lease.objects.update(expires_at=F("expires_at") - timedelta(days=1))


def hand_over(term: int) -> int:
    return len(
        lifecycle.dispatch_many([Share("default", [Probe(5, "medium", 9)], 9)], actors=["act"], lease=LEASE, term=term)
    )


def test_the_first_leads_and_the_second_follows(one, other) -> None:
    one.step()
    other.step()
    assert (one.term, other.term) == (1, None)


def test_a_leader_that_renews_keeps_its_term(one, other, clock) -> None:
    for _ in range(5):
        one.step()
        clock.now += 5
        other.step()
        assert (one.term, other.term) == (1, None)
    assert Term.objects.get().term == 1


def test_followers_look_often_enough_to_take_over_within_a_second(one, other, settings) -> None:
    one.step()
    assert other.step() <= 0.5
    settings.LEADER_LEASE_SECONDS = 0.5
    assert other.step() <= 0.1


def test_a_leader_renews_several_times_within_its_lease(one, settings) -> None:
    assert one.step() <= settings.LEADER_LEASE_SECONDS / 3


def test_when_the_lease_is_over_another_takes_over_with_a_higher_term(one, other) -> None:
    one.step()
    let_lease_run_out()
    other.step()
    assert other.term == 2
    assert Lease.objects.get().holder == other._holder


def test_a_leader_that_was_paused_past_its_lease_does_not_trust_itself(one, clock) -> None:
    one.step()
    clock.now += 8.9
    assert one.term == 1
    # A tenth of the lease before its end.
    clock.now += 0.2
    assert one.term is None


def test_a_paused_leader_that_wakes_after_the_take_over_follows(one, other, clock) -> None:
    one.step()
    let_lease_run_out()
    other.step()
    clock.now += 20
    one.step()
    other.step()
    assert (one.term, other.term) == (None, 2)
    assert Lease.objects.get().holder == other._holder


def test_a_write_that_a_deposed_leader_sends_late_changes_nothing(one, other) -> None:
    one.step()
    submit()
    late = one.term
    assert late is not None
    let_lease_run_out()
    other.step()
    assert other.term is not None
    assert hand_over(late) == 0
    assert hand_over(other.term) == 1


def test_a_lease_that_ran_out_is_taken_again_and_not_renewed(one) -> None:
    # Another scheduler may have led in between and resigned.
    one.step()
    let_lease_run_out()
    one.step()
    assert one.term == 2


def test_only_the_holder_renews(one, other) -> None:
    one.step()
    other._term = 1
    other.step()
    assert other.term is None
    assert Lease.objects.get().holder == one._holder


def slow_database(monkeypatch, clock: Any, seconds: float) -> None:
    def fetch(*given: Any) -> Any:
        clock.now += seconds
        return statements.fetch(*given)

    monkeypatch.setattr(leases, "fetch", fetch)


def test_trust_counts_from_before_the_lease_was_asked_for(one, clock, monkeypatch) -> None:
    slow_database(monkeypatch, clock, 20)
    one.step()
    assert one._term == 1
    assert one.term is None


def test_trust_counts_from_before_the_renewal_was_asked_for(one, clock, monkeypatch) -> None:
    one.step()
    slow_database(monkeypatch, clock, 20)
    one.step()
    assert one._term == 1
    assert one.term is None


def test_a_database_that_is_away_ends_no_term_before_its_time(one, clock, monkeypatch) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("away")

    one.step()
    with monkeypatch.context() as patched:
        patched.setattr(leases, "fetch", away)
        clock.now += 5
        with pytest.raises(OperationalError):
            one.step()
        assert one.term == 1
        clock.now += 5
        assert one.term is None
    one.step()
    assert one.term == 1


def test_a_lease_without_its_term_is_not_taken(one, other, monkeypatch) -> None:
    def fetch(statement: str, parameters: Any) -> Any:
        if statement == leases._NEXT_TERM:
            raise OperationalError("away")
        return statements.fetch(statement, parameters)

    with monkeypatch.context() as patched:
        patched.setattr(leases, "fetch", fetch)
        with pytest.raises(OperationalError):
            one.step()
    other.step()
    assert (one.term, other.term) == (None, 1)


# --- Resigning ---


def test_a_leader_that_resigns_lets_another_lead_at_once(one, other, monkeypatch) -> None:
    monkeypatch.setattr(module, "close_old_connections", lambda: None)
    one.step()
    one.resign()
    assert one.term is None
    other.step()
    assert other.term == 2


def test_a_follower_does_not_resign(one, other, monkeypatch) -> None:
    monkeypatch.setattr(module, "close_old_connections", lambda: None)
    one.step()
    other.resign()
    assert Lease.objects.get().expires_at > database_now()
    # It was deposed and does not know it.
    other._term = 1
    other.resign()
    assert Lease.objects.get().expires_at > database_now()
    assert one.term == 1


def test_a_database_that_is_away_does_not_keep_a_leader_from_ending(one, monkeypatch) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("away")

    one.step()
    monkeypatch.setattr(module, "close_old_connections", lambda: None)
    monkeypatch.setattr(leases, "fetch", away)
    one.resign()
    assert one.term is None


# --- Settled ---


def test_a_leader_has_settled_a_heartbeat_after_its_term_began(one, clock, settings) -> None:
    settings.HEARTBEAT_INTERVAL_SECONDS = 5
    one.step()
    assert not one.has_settled
    clock.now += 5.1
    one.step()
    assert one.has_settled
    let_lease_run_out()
    one.step()
    assert one.term == 2
    assert not one.has_settled


def test_leases_are_told_apart_by_name(one) -> None:
    Lease.objects.create(name="another", holder=new_id(), expires_at=database_now() + timedelta(hours=1))
    one.step()
    assert one.term == 1
