"""Redis over TLS with a user of few rights, and behind Sentinel, whose master dies."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tasks.broker import redis_url
from tests.acceptance.conftest import make_rig
from tests.acceptance.harness.redis import Sentinels, over_tls
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import Databases
from tests.waiting import wait_until

TASKS = 20


@pytest.fixture
def behind_tls(databases: Databases, tmp_path: Path, request: Any) -> Iterator[Rig]:
    yield from make_rig(databases, over_tls(tmp_path), tmp_path, request)


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    made = Sentinels(tmp_path)
    yield made
    made.stop(immediate=True)


@pytest.fixture
def behind_sentinel(databases: Databases, sentinels: Sentinels, tmp_path: Path, request: Any) -> Iterator[Rig]:
    yield from make_rig(databases, sentinels, tmp_path, request)


@pytest.mark.slow
def test_tls_a_user_and_a_prefix_are_enough(behind_tls: Rig) -> None:
    rig = behind_tls
    rig.start_scheduler()
    rig.start_workers(threads=2)
    rig.client.submit("effect", count=TASKS)
    rig.verify(within=15)
    assert sorted(rig.effects().values()) == [1] * TASKS


@pytest.mark.slow
def test_when_the_master_dies_work_goes_on_with_the_one_that_sentinel_makes(
    behind_sentinel: Rig, sentinels: Sentinels
) -> None:
    rig = behind_sentinel
    rig.start_scheduler()
    rig.start_workers(threads=2)
    rig.client.submit("last", count=TASKS, seconds=0.05)
    rig.await_effects(5)
    sentinels.master.stop(immediate=True)
    rig.client.submit("effect", count=TASKS)
    wait_until(_is_master(sentinels.replica.url), timeout=30, what="the replica to become the master")
    rig.verify(within=30)
    assert len(rig.effects()) == 2 * TASKS


def _is_master(url: str) -> Any:
    client: Any = redis_url.client(url)

    def look() -> bool:
        try:
            return bool(client.info("replication")["role"] == "master")
        except redis.RedisError:
            return False

    return look
