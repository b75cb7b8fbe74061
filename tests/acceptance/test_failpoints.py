"""F2: a kill, and a lost connection, exactly between two steps of a task's life."""

import pytest

from tasks.testing import failpoints
from tests.acceptance.harness.rig import Rig
from tests.tiers import slow_except
from tests.waiting import wait_until

FAULT = "F2"

IN_THE_SCHEDULER = ("before_dispatch", "after_dispatch", "after_publish")
#: Those are in test_workflows.py.
WHILE_SETTLING = ("after_link", "after_release")
#: Those are in test_batches.py.
WHILE_COUNTING = ("after_fold", "before_batch_end", "after_batch_end")
#: Those are in test_schedules.py.
WHILE_FIRING = ("before_fire", "after_fire_hold", "after_fire_insert", "before_fire_commit", "after_fire")
#: Those in an actor's own transaction are in test_own_transaction.py, and the one of steps in test_steps.py.
IN_A_WORKER = tuple(
    name
    for name in failpoints.NAMES
    if name not in (*IN_THE_SCHEDULER, *WHILE_SETTLING, *WHILE_COUNTING, *WHILE_FIRING)
    and not name.endswith(("_own_commit", "_step"))
)
#: Fail points after the effect of a task: its effect happens twice, which at-least-once allows.
AFTER_THE_EFFECT = frozenset({"after_effect", "before_completion"})
TASKS = 12


@pytest.mark.parametrize("name", slow_except("after_dispatch", of=IN_THE_SCHEDULER))
def test_the_scheduler_is_killed_at(rig: Rig, name: str) -> None:
    scheduler = rig.start_scheduler(env=rig.arm(f"{name}:kill"))
    rig.start_workers(threads=2)
    rig.client.submit("effect", count=TASKS)
    assert scheduler.wait(15) == -9
    rig.start_scheduler()
    rig.verify(within=8)
    assert sorted(rig.effects().values()) == [1] * TASKS


@pytest.mark.parametrize("name", slow_except("after_claim", "after_completion", of=IN_A_WORKER))
def test_a_worker_is_killed_at(rig: Rig, name: str) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=2, env=rig.arm(f"{name}:kill"))
    rig.client.submit("effect", count=TASKS)
    wait_until(lambda: rig.was_hit, timeout=15, what=f"{name} to be reached")
    rig.verify(within=8)
    effects = sorted(rig.effects().values())
    assert len(effects) == TASKS
    if name in AFTER_THE_EFFECT:
        assert effects[-1] == 2
    elif name in ("before_claim", "after_claim", "before_completion", "after_completion"):
        assert sum(task.crashes for task in rig.database.snapshot().tasks) <= 2, "at most what ran is blamed"


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_THE_SCHEDULER)
def test_the_scheduler_loses_its_connection_at(rig: Rig, name: str) -> None:
    rig.start_scheduler(env=rig.arm(f"{name}:error"))
    rig.start_workers(threads=2)
    rig.client.submit("effect", count=TASKS)
    wait_until(lambda: rig.was_hit, timeout=15, what=f"{name} to be reached")
    rig.verify(within=8)
    assert sorted(rig.effects().values()) == [1] * TASKS


@pytest.mark.parametrize(
    "name", slow_except("before_completion", of=["before_claim", "before_completion", "after_completion"])
)
def test_a_worker_loses_its_connection_at(rig: Rig, name: str) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(threads=2, env=rig.arm(f"{name}:error"))
    rig.client.submit("effect", count=TASKS)
    wait_until(lambda: rig.was_hit, timeout=15, what=f"{name} to be reached")
    rig.verify(within=8)
    assert sorted(rig.effects().values()) == [1] * TASKS, "a lost reply must not run or count anything twice"
    assert "worker process ended" not in workers.log.read_text()


def test_hints_whose_acknowledgement_failed_are_acknowledged_later(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=2, env=rig.arm("before_ack:away"))
    rig.client.submit("last", count=TASKS, seconds=0.02)
    wait_until(lambda: rig.was_hit, timeout=15, what="the acknowledgement")
    rig.verify(within=8)
    assert sorted(rig.effects().values()) == [1] * TASKS


@pytest.mark.slow
def test_a_worker_whose_claim_was_committed_and_never_answered_puts_it_back(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=2, env=rig.arm("after_claim:error"))
    rig.client.submit("effect", count=TASKS)
    wait_until(lambda: rig.was_hit, timeout=15, what="the claim")
    rig.verify(within=12)
    assert sorted(rig.effects().values()) == [1] * TASKS
