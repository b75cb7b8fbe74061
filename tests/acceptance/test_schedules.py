"""F2 for schedules: the leader dies at each statement of a fire; every fire has its task, and has it once."""

from datetime import timedelta
from itertools import pairwise

import pytest

from tests.acceptance.harness.history import Submission
from tests.acceptance.harness.rig import Rig
from tests.acceptance.test_failpoints import WHILE_FIRING
from tests.tiers import slow_except
from tests.waiting import wait_until

FAULT = "F2"

TAG = "tick"
#: Fires before the end of the test, of one schedule that fires each second.
FIRES = 3


def fires(rig: Rig) -> int:
    """Count the tasks that were made."""
    ((count,),) = rig.database.query("SELECT count(*) FROM callboard_task WHERE schedule_id IS NOT NULL")
    return int(count)


def assert_fired_each_second(rig: Rig) -> None:
    """Stop the schedule, and check that each second since its first fire has one task, which ran once."""
    rig.manage("callboard", "schedules", "pause", TAG)
    found = rig.database.query("SELECT scheduled_at FROM callboard_task WHERE schedule_id IS NOT NULL ORDER BY 1")
    times = [at for (at,) in found]
    ((until, missed, skipped),) = rig.database.query("SELECT fired_until, missed, skipped FROM callboard_schedule")
    assert (times[-1], missed, skipped) == (until, 0, 0), "the schedule says what its tasks say"
    assert [later - earlier for earlier, later in pairwise(times)] == [timedelta(seconds=1)] * (len(times) - 1)
    rig.client.history.submissions.append(Submission(TAG, "ok", len(times)))
    rig.verify(within=15)
    assert sorted(rig.effects().values()) == [1] * len(times)


@pytest.mark.parametrize("name", slow_except("after_fire_insert", of=WHILE_FIRING))
@pytest.mark.parametrize("action", slow_except("kill", of=("kill", "error")))
def test_the_leader_fails_while_it_fires_and_no_fire_is_lost_or_doubled(rig: Rig, name: str, action: str) -> None:
    scheduler = rig.start_scheduler(env=rig.arm(f"{name}:{action}", now=False))
    rig.start_workers(threads=2)
    words = ["--cron", "* * * * * *", "--overlap", "allow", "--catch-up", "all", "--tag", TAG]
    rig.manage("callboard", "schedules", "add", TAG, "effect", *words)
    wait_until(lambda: fires(rig) >= 2, timeout=15, what="the first fires")
    rig.arm(f"{name}:{action}")
    wait_until(lambda: rig.was_hit, timeout=15, what=f"{name} to be reached")
    if action == "kill":
        assert scheduler.wait(15) == -9
        rig.start_scheduler()
    before = fires(rig)
    wait_until(lambda: fires(rig) >= before + FIRES, timeout=30, what="further fires")
    assert_fired_each_second(rig)
