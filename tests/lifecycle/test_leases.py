"""renew, take, resign: one holder at a time, and a new term for each."""

from datetime import timedelta

import pytest

from tasks.lifecycle import leases
from tasks.models import Lease, Term, new_id
from tests.factories import database_now

pytestmark = pytest.mark.django_db

ALICE, BOB = new_id(), new_id()


def take(holder, **fields):
    return leases.take("a lease", holder=holder, seconds=60, **fields)


def test_a_lease_has_one_holder_and_each_holder_a_term_of_its_own() -> None:
    assert (take(ALICE), take(BOB)) == (1, None)
    leases.resign("a lease", holder=BOB)
    assert take(BOB) is None
    leases.resign("a lease", holder=ALICE)
    assert (take(BOB), Lease.objects.get().holder, Term.objects.get().term) == (2, BOB, 2)


def test_only_the_holder_of_a_lease_that_runs_renews_it() -> None:
    assert not leases.renew("a lease", holder=ALICE, seconds=60)
    take(ALICE)
    assert leases.renew("a lease", holder=ALICE, seconds=120)
    end = leases.end_of("a lease")
    assert end is not None
    assert end > database_now() + timedelta(seconds=60)
    assert not leases.renew("a lease", holder=BOB, seconds=120)
    Lease.objects.update(expires_at=database_now())
    assert not leases.renew("a lease", holder=ALICE, seconds=120)


def test_a_lease_is_taken_before_its_end_only_if_it_still_ends_when_the_follower_saw_it_end() -> None:
    assert leases.end_of("a lease") is None
    take(ALICE)
    seen = leases.end_of("a lease")
    leases.renew("a lease", holder=ALICE, seconds=90)
    assert take(BOB, abandoned=seen) is None
    assert take(BOB, abandoned=leases.end_of("a lease")) == 2
