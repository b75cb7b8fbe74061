"""An operation survives kill -9 of the leader that does it, and nothing is done twice."""

import pytest

from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

TASKS = 60


@pytest.mark.slow
def test_a_leader_that_is_killed_in_the_middle_leaves_an_operation_that_the_next_one_ends(rig: Rig) -> None:
    leader = rig.start_scheduler()
    rig.start_workers(threads=4)
    rig.await_workers()
    tasks = rig.client.submit_all([{"actor": "fail", "payload": {"times": 1}, "max_retries": 0} for _ in range(TASKS)])

    def read(query: str) -> int:
        ((number,),) = rig.database.query(query)
        return int(number or 0)

    wait_until(
        lambda: read("SELECT sum(open) FROM callboard_failure") == TASKS, timeout=30, what="all deaths to be counted"
    )
    ((fingerprint,),) = rig.database.query("SELECT fingerprint FROM callboard_failure")
    # The checker counts one second life for each, and no more.
    rig.client.history.second_lives.extend(tasks)
    rig.manage("callboard", "dlq", "redrive", "--failure", fingerprint, "--canary", "2", "--rate", "15")
    wait_until(
        lambda: read("SELECT moved FROM callboard_operation") > TASKS // 4, timeout=30, what="the operation to begin"
    )
    leader.kill()
    moved = read("SELECT moved FROM callboard_operation")
    assert moved < TASKS
    rig.start_scheduler()
    wait_until(
        lambda: read("SELECT count(*) FROM callboard_operation WHERE state = 'DONE'"), timeout=60, what="it to be done"
    )
    assert read("SELECT succeeded FROM callboard_operation") == TASKS
    assert read("SELECT count(*) FROM callboard_journal WHERE verb = 'redrive' AND task_id IS NOT NULL") == TASKS
    assert read("SELECT max(attempt) FROM callboard_task") == 2
    wait_until(lambda: read("SELECT sum(open) FROM callboard_failure") == 0, timeout=10, what="the count to be 0")
    rig.verify(within=20)
