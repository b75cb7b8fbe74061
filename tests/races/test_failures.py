"""Deaths and re-drives side by side: the counts of failures are exact, and none of them waits for another."""

import pytest

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.lifecycle import Outcome
from tasks.states import DeathReason
from tests.factories import failure, make_lead, make_worker, start, submit

pytestmark = pytest.mark.django_db(transaction=True)

CAUSES = 3
EACH = 20


def _deaths(turn: int) -> list[Outcome]:
    """Let tasks run that die of the causes in turn, each batch beginning with another."""
    worker = make_worker(threads=EACH)
    return [
        failure(
            start(submit(), worker), worker, error_type=f"Error{'ABC'[(number + turn) % CAUSES]}",
            death=DeathReason.NOT_RETRYABLE,
        )
        for number in range(EACH)
    ]  # fmt: skip


def test_a_flood_of_deaths_of_the_same_causes_is_counted_exactly(race) -> None:
    lead = make_lead()
    batches = [_deaths(turn) for turn in range(4)]
    halves = [(batch[: EACH // 2], batch[EACH // 2 :]) for batch in batches]
    for first, _ in halves:
        lifecycle.complete_many(first)
    letters = list(DeadLetter.objects.values_list("pk", flat=True))

    def fold() -> int:
        return sum(lifecycle.fold_failures(**lead) for _ in range(20))

    answers = race.together(
        *((lambda half=second: lifecycle.complete_many(half, waits=True)) for _, second in halves),
        lambda: lifecycle.discard_many(letters[:10]),
        lambda: lifecycle.redrive_many(letters[5:15]),
        fold,
    )
    assert not [one for one in answers if isinstance(one, Exception)]
    assert lifecycle.fold_failures(**lead) >= 0
    assert Failure.objects.count() == CAUSES
    for found in Failure.objects.all():
        assert found.open == DeadLetter.objects.open().of_cause(found.pk).count()
        assert found.total == DeadLetter.objects.of_cause(found.pk).count()
    assert sum(Failure.objects.values_list("total", flat=True)) == 4 * EACH


def test_a_death_does_not_wait_for_another_of_its_cause_that_is_not_committed(race) -> None:
    ((one, *_), (other, *_)) = _deaths(0), _deaths(0)
    first, second = race.while_open(
        lambda: lifecycle.complete_many([one]), lambda: lifecycle.complete_many([other], waits=True)
    )
    assert (len(first), len(second)) == (1, 1)
