"""Deaths per minute: of one cause, in the minute in which they happened, and bounded."""

from datetime import timedelta

import pytest

from dlq.models import DeadLetter
from tasks.models.ids import first_id_at
from tasks.queries import deaths
from tasks.queries.deaths import MINUTES, Curve, deaths_per_minute
from tasks.states import Status
from tests.factories import database_now, make_task, open_letter

pytestmark = pytest.mark.django_db


def die(*, minutes_ago: float) -> DeadLetter:
    letter = open_letter(make_task(Status.DEAD))
    died_at = database_now() - timedelta(minutes=minutes_ago)
    DeadLetter.objects.filter(pk=letter.pk).update(id=first_id_at(died_at), died_at=died_at)
    return letter


def test_deaths_are_counted_in_their_minute() -> None:
    for minutes_ago in (70, 59.5, 10.5, 10.6, 0.5):
        letter = die(minutes_ago=minutes_ago)
    other = open_letter(make_task(Status.DEAD))
    DeadLetter.objects.filter(pk=other.pk).update(fingerprint="f" * 32)
    counts = [0] * MINUTES
    counts[0], counts[49], counts[59] = 1, 2, 1
    assert deaths_per_minute(letter.fingerprint, now=database_now()) == Curve(counts, is_cut=False)


def test_a_curve_says_that_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = [die(minutes_ago=minutes_ago) for minutes_ago in (5.5, 3.5, 1.5)]
    monkeypatch.setattr(deaths, "MOST_LOOKED_AT", 2)
    found = deaths_per_minute(letters[0].fingerprint, now=database_now())
    assert (sum(found.counts), found.counts[54], found.is_cut) == (2, 0, True)
