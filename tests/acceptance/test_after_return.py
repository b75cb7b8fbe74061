"""Results and callbacks that cannot be stored: the function does not run again, and no other task suffers."""

import pytest

from tests.acceptance.harness.rig import Rig

pytestmark = pytest.mark.slow

THREADS = 2
RESULTS = ("date", "decimal", "model", "big number", "long text", "nul", "not a number", "exiting")


def test_a_task_whose_result_cannot_be_kept_has_its_effect_once(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=THREADS)
    tasks = [task for what in RESULTS for task in rig.client.submit("effect_and_return", count=3, what=what)]
    rig.verify(within=20)
    assert rig.effects() == dict.fromkeys(tasks, 1)
    assert {row.status for row in rig.database.snapshot().tasks} == {"SUCCEEDED"}
    assert rig.database.query(
        "SELECT count(*) FROM callboard_attempt WHERE note LIKE 'the result was not kept: %%'"
    ) == [(len(tasks),)]


def test_a_task_whose_callback_cannot_be_submitted_has_its_effect_once_and_says_why(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=THREADS)
    tasks = rig.client.submit("effect_and_call_nobody", count=6)
    rig.verify(within=20)
    assert rig.effects() == dict.fromkeys(tasks, 1)
    assert {(row.status, row.attempt) for row in rig.database.snapshot().tasks} == {("DEAD", 1)}
    assert {row.reason for row in rig.database.snapshot().letters} == {"not_retryable"}


@pytest.mark.parametrize("what", ["text", "class", "attributes"])
def test_an_exception_that_raises_when_it_is_inspected_ends_neither_thread_nor_process(rig: Rig, what: str) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(threads=THREADS)
    hostile = {"actor": "fail_hostile", "payload": {"what": what}, "max_retries": 0}
    rig.client.submit_all([hostile] * 3 * THREADS)
    tasks = rig.client.submit("effect", count=3 * THREADS)
    rig.verify(within=20)
    assert rig.effects() == dict.fromkeys(tasks, 1)
    # The same process served them all.
    assert [row.crash for row in rig.database.workers()] == [None]
    assert "watchdog" not in workers.log.read_text()
