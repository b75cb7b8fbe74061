"""F12: duplicate, stale, forged, foreign and undecodable hints have no effect and stop no worker."""

import json
from uuid import uuid4

import pytest
from dramatiq import Message

from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

FAULT = "F12"

DUPLICATES = 20


def start(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=2, threads=2)
    rig.await_workers(2)


def test_duplicates_of_every_hint_start_nothing_twice(rig: Rig) -> None:
    start(rig)
    # Both workers are busy, so these hints stay in the list until all duplicates are beside them.
    blockers = rig.client.submit("await_cue", count=4, priority=7, cue=rig.cue())
    rig.await_starts(blockers)
    tasks = rig.client.submit("effect", count=4)
    wait_until(lambda: {rig.database.task(task).status for task in tasks} == {"QUEUED"}, what="all to be dispatched")
    for task in tasks:
        for copy in range(DUPLICATES):
            rig.hints.push(f"{task}:1", id=f"copy-{copy}-{task}" if copy % 2 else None)
    rig.give_cue()
    rig.verify(within=8)
    assert rig.effects() == dict.fromkeys([*blockers, *tasks], 1)


@pytest.mark.slow
def test_hints_for_tasks_that_run_have_ended_or_are_unknown_start_nothing(rig: Rig) -> None:
    start(rig)
    running = rig.client.submit("await_cue", cue=rig.cue())
    rig.await_starts(running)
    done = rig.client.submit("effect", count=3)
    rig.await_effects(3)
    rig.client.submit_all([{"actor": "effect", "delay_seconds": 3600}])
    (cancelled,) = rig.client.history.submissions[-1].task_ids
    assert rig.client.cancel(cancelled) == "CANCELLED"
    for task in [*running, *done, cancelled, str(uuid4())]:
        for dispatch in (0, 1, 2, 3, 2**31 - 1):
            rig.hints.push(f"{task}:{dispatch}")
    honest = rig.client.submit("effect", count=5)
    rig.await_effects(8)
    rig.give_cue()
    rig.verify(within=8)
    assert rig.effects() == dict.fromkeys([*running, *done, *honest], 1)
    assert [rig.outcomes(task) for task in running] == [["SUCCEEDED"]]


@pytest.mark.slow
def test_a_hint_of_an_older_dispatch_starts_nothing_and_the_newest_does(rig: Rig) -> None:
    rig.start_scheduler(env={"HINT_GRACE_SECONDS": "60"})
    rig.start_workers(threads=1)
    blocker = rig.client.submit("await_cue", cue=rig.cue())
    rig.await_starts(blocker)
    (task,) = rig.client.submit("effect")
    wait_until(lambda: rig.database.task(task).dispatch == 1, what="the first dispatch")
    # Requeued and dispatched to another band; then the newer hint is lost.
    rig.client.edit(task, priority=9)
    wait_until(lambda: rig.hints.waiting().get("default.high"), what="the second dispatch")
    rig.hints.client.delete("callboard:default.high")
    for _ in range(DUPLICATES):
        rig.hints.push(f"{task}:1")
    rig.give_cue()
    wait_until(lambda: not rig.hints.waiting(), what="the stale hints to be taken")
    honest = rig.client.submit("effect", count=3, priority=1)
    wait_until(lambda: all(rig.outcomes(one) == ["SUCCEEDED"] for one in honest), what="tasks behind them")
    row = rig.database.task(task)
    assert (row.status, row.dispatch, row.attempt) == ("QUEUED", 2, 0), "a stale hint started it"
    rig.hints.push(f"{task}:2")
    rig.verify(within=8)
    assert rig.outcomes(task) == ["SUCCEEDED"]


@pytest.mark.slow
def test_a_hint_for_a_task_that_is_not_yet_due_does_not_start_it_early(rig: Rig) -> None:
    start(rig)
    rig.client.submit_all([{"actor": "effect", "delay_seconds": 2}])
    (task,) = rig.client.history.submissions[-1].task_ids
    for dispatch in range(5):
        rig.hints.push(f"{task}:{dispatch}")
    rig.verify(within=8)
    assert rig.outcomes(task) == ["SUCCEEDED"]


@pytest.mark.slow
def test_garbage_in_the_lists_is_dropped_and_valid_tasks_run(rig: Rig) -> None:
    start(rig)
    someone = str(uuid4())
    foreign: Message[None] = Message(queue_name="default", actor_name="effect", args=(), kwargs={}, options={})
    rubbish: list[bytes | str] = [
        b"", b"\xff\xfe\x00", b"\x80" * 40, b"null", b"{", "x" * 1_000_000, someone, f"{someone}:", f"{someone}:x",
        f"{someone}:-1", f"{someone}:{2**31}", f"{someone}:{10**40}", f"{someone}:1e3", f"{someone}:01", f"{someone}:١",
        f"{someone.upper()}:1", f"{{{someone}}}:1", f" {someone}:1", f"{someone}:1\n", "'; DROP TABLE queue; --",
        foreign.encode(), json.dumps({"queue_name": "default", "actor_name": "no such actor"}), json.dumps([1, 2, 3]),
    ]  # fmt: skip
    for queue in ("default.high", "default.medium", "default.low"):
        for number, body in enumerate(rubbish):
            rig.hints.push(body, queue=queue, id=f"rubbish-{number}")
        # An id in the list whose body is gone, as after an expiry.
        rig.hints.client.rpush(f"callboard:{queue}", "no-such-body")
    honest = [id for priority in (2, 5, 9) for id in rig.client.submit("effect", count=5, priority=priority)]
    rig.verify(within=8)
    assert rig.effects() == dict.fromkeys(honest, 1)
    assert {name for name in ("high", "medium", "low") if rig.hints.bodies(f"default.{name}")} == set(), "left behind"
    assert "worker process ended" not in rig.processes[1].log.read_text()
