"""F14: outcomes that cannot be written at first or at all, and commits whose replies are lost."""

import pytest

from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

FAULT = "F14"
TASKS, TIMES = 12, 5

#: Lets the database refuse the success of one task, but not its death.
_REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'refused by the test' USING ERRCODE = 'check_violation'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON callboard_task FOR EACH ROW
WHEN (NEW.priority = 6 AND NEW.status = 'SUCCEEDED') EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize("name", ["before_completion", "after_completion"])
def test_each_outcome_counts_once_although_its_write_fails_again_and_again(rig: Rig, name: str) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(threads=2, env={"FAILPOINT": f"{name}:error*{TIMES}"})
    succeed = rig.client.submit("effect", count=TASKS)
    fail = rig.client.submit("fail", count=TASKS, times=1)
    rig.verify(within=50)
    assert workers.log.read_text().count("outcomes wait for the database") == TIMES
    assert rig.effects() == dict.fromkeys([*succeed, *fail], 1)
    assert {tuple(rig.outcomes(task)) for task in succeed} == {("SUCCEEDED",)}
    assert {tuple(rig.outcomes(task)) for task in fail} == {("FAILED", "SUCCEEDED")}
    assert {rig.database.task(task).failures for task in fail} == {1}


def test_a_worker_that_stops_while_the_database_refuses_its_outcomes_loses_none(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(threads=2, env={"FAILPOINT": "before_completion:error*1"})
    tasks = rig.client.submit("effect", count=TASKS)
    wait_until(lambda: "outcomes wait for the database" in workers.log.read_text(), timeout=20, what="a failed write")
    workers.terminate()
    assert workers.wait(15) == 0
    rig.start_workers(threads=2)
    # A process that is asked to stop while it still boots just dies, so wait until it has booted.
    rig.await_workers()
    rig.verify(within=30)
    assert rig.effects() == dict.fromkeys(tasks, 1)


def test_a_success_that_the_database_refuses_dies_alone_and_is_not_run_again(rig: Rig) -> None:
    rig.database.query(_REFUSE)
    rig.start_scheduler()
    workers = rig.start_workers(threads=4)
    tasks = rig.client.submit("effect", count=TASKS)
    rig.client.submit_all(
        [{"actor": "effect", "priority": 6, "max_retries": 2, "min_backoff_seconds": 0.1, "max_backoff_seconds": 0.1}]
    )
    (poison,) = rig.client.history.submissions[-1].task_ids
    tasks += rig.client.submit("effect", count=TASKS)
    rig.verify(within=30)
    assert [(row.outcome, row.error_type) for row in rig.database.attempts(poison)] == [
        ("FAILED", "OutcomeNotStorable")
    ]
    (letter,) = rig.database.snapshot().letters
    assert (letter.task, letter.reason) == (poison, "not_retryable")
    assert rig.effects()[poison] == 1
    assert "an outcome cannot be stored" in workers.log.read_text()
    assert {row.status for row in rig.database.snapshot().tasks if row.id in tasks} == {"SUCCEEDED"}
