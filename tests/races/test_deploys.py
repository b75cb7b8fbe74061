"""Workers of a new build that start side by side: the journal has one deploy."""

from functools import partial

import pytest

from tasks.models import Journal, Worker
from tests.factories import make_worker

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_worker_that_starts_beside_the_first_of_its_build_is_no_deploy(race) -> None:
    register = partial(make_worker, build="a1")
    answers = race.while_open(register, register)
    assert not [one for one in answers if isinstance(one, Exception)]
    assert Worker.objects.filter(build="a1").count() == 2
    assert Journal.objects.of_verb("deploy").count() == 1
