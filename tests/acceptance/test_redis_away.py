"""F5: Redis dies, forgets everything, or is not there at all."""

import pytest

from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

FAULT = "F5"


def start(rig: Rig) -> Process:
    scheduler = rig.start_scheduler()
    rig.start_workers(threads=2)
    rig.await_workers()
    return scheduler


def test_redis_is_killed_and_comes_back_empty(rig: Rig) -> None:
    assert rig.redis is not None
    start(rig)
    rig.client.submit("last", count=40, seconds=0.05)
    rig.await_effects(5)
    rig.redis.restart(immediate=True)
    rig.client.submit("last", count=10, seconds=0.05)
    rig.verify(within=12)
    assert set(rig.effects().values()) == {1}


@pytest.mark.slow
def test_redis_is_away_for_seconds_and_submission_goes_on(rig: Rig) -> None:
    assert rig.redis is not None
    scheduler = start(rig)
    before = rig.client.submit("effect", count=3)
    rig.await_effects(3)
    rig.redis.stop(immediate=True)
    during = [id for _ in range(5) for id in rig.client.submit("effect", count=2)]
    assert len(during) == 10, "submission does not ask the broker"
    wait_until(lambda: "Redis does not answer" in scheduler.log.read_text(), what="the scheduler to notice")
    rig.redis.start()
    rig.verify(within=12)
    assert rig.effects() == dict.fromkeys([*before, *during], 1)


@pytest.mark.slow
def test_workers_and_scheduler_start_while_redis_is_away(rig: Rig) -> None:
    assert rig.redis is not None
    rig.redis.stop(immediate=True)
    start(rig)
    rig.client.submit("effect", count=5)
    rig.redis.start()
    rig.verify(within=12)
    assert sorted(rig.effects().values()) == [1] * 5


@pytest.mark.slow
def test_everything_in_redis_is_flushed_in_the_middle_of_a_backlog(rig: Rig) -> None:
    start(rig)
    rig.client.submit("last", count=60, seconds=0.05)
    for step in (3, 20, 40):
        rig.await_effects(step)
        rig.hints.flush()
    rig.verify(within=12)
    assert set(rig.effects().values()) == {1}
