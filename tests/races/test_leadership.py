"""Schedulers that compete for the lead."""

from datetime import timedelta

from django.db.models import F

from tasks.models import Lease, Term
from tasks.scheduler.leadership import Leadership

ROUNDS = 15


def test_of_contenders_for_a_free_lease_one_leads_and_no_term_is_led_twice(race) -> None:
    led: list[int] = []
    for _ in range(ROUNDS):
        Lease.objects.update(expires_at=F("expires_at") - timedelta(days=1))
        contenders = [Leadership() for _ in range(3)]
        race.together(*[one.step for one in contenders])
        (term,) = [one.term for one in contenders if one.term is not None]
        led.append(term)
    assert led == list(range(1, ROUNDS + 1))


def test_a_contender_that_waited_for_another_ones_take_over_follows(race) -> None:
    one, other = Leadership(), Leadership()
    race.while_open(one.step, other.step)
    assert (one.term, other.term) == (1, None)


def test_a_renewal_does_not_wait_for_the_statements_that_the_term_protects(race) -> None:
    leader = Leadership()
    leader.step()

    def hold_the_term() -> None:
        list(Term.objects.select_for_update(of=("self",)))

    waited, _ = race.while_waiting(hold_the_term, leader.step, lambda: "it waited")
    assert isinstance(waited, AssertionError), waited
    assert leader.term == 1
