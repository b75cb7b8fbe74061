"""Workers of a new build that start side by side: the journal has one deploy."""

from functools import partial

import pytest

from tasks.models import Journal, Worker
from tests.factories import make_worker

pytestmark = pytest.mark.django_db(transaction=True)


def test_workers_that_start_together_are_one_deploy(race) -> None:
    answers = race.together(*[partial(make_worker, build="a1")] * 6)
    assert not [one for one in answers if isinstance(one, Exception)]
    assert Worker.objects.filter(build="a1").count() == 6
    assert Journal.objects.of_verb("deploy").count() == 1
