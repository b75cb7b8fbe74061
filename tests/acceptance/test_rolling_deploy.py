"""F17: two releases at once: an actor, or a schema, that one of them does not know."""

import os
import signal
from functools import partial

import pytest

from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

FAULT = "F17"
NEXT = {"STAGE_RELEASE": "next"}

#: A migration of the next release, which may only add while processes of this one still run.
_NEXT_SCHEMA = """
ALTER TABLE callboard_task ADD COLUMN novelty text NOT NULL DEFAULT 'new', ADD COLUMN more jsonb;
ALTER TABLE callboard_attempt ADD COLUMN novelty integer NOT NULL DEFAULT 1;
ALTER TABLE callboard_worker ADD COLUMN novelty text;
ALTER TABLE callboard_deadletter ADD COLUMN novelty text NOT NULL DEFAULT '';
ALTER TABLE callboard_lease ADD COLUMN novelty text;
CREATE TABLE callboard_novelty (id bigserial PRIMARY KEY, task_id uuid);
CREATE INDEX novelty_idx ON callboard_task (novelty) WHERE status = 'PENDING';
INSERT INTO django_migrations (app, name, applied) VALUES ('tasks', '9999_novelty', now());
"""


def says(process: Process, words: str) -> bool:
    return words in process.log.read_text()


def test_tasks_of_an_actor_that_no_worker_knows_wait_and_do_not_die(rig: Rig) -> None:
    rig.start_scheduler()
    old = rig.start_workers(threads=2)
    rig.await_workers()
    api = rig.start_api(env=NEXT)
    assert api.submit("novelty", count=5).status == 201
    known = rig.client.submit("effect", count=10)
    rig.await_effects(10)
    rows = {row.id: row for row in rig.database.snapshot().tasks}
    assert {(row.status, row.dispatch) for row in rows.values() if row.actor == "novelty"} == {("PENDING", 0)}
    new = rig.start_workers(threads=2, env=NEXT)
    rig.await_workers(2)
    # Any worker of a queue may get a hint. The old one puts such tasks back, and they wait for a while.
    assert api.submit("novelty", count=20).status == 201
    was_given_back = "SELECT count(*) FROM move_log WHERE before = 'RUNNING' AND after = 'PENDING'"
    wait_until(lambda: rig.database.query(was_given_back)[0][0], timeout=30, what="the old worker to give some back")
    old.terminate()
    assert old.wait(15) == 0
    rig.verify(within=60)
    assert set(rig.effects().values()) == {1}
    assert rig.database.snapshot().letters == []
    assert {row.failures + row.crashes for row in rig.database.snapshot().tasks} == {0}
    started_by_new = {entry.pid for task in rows.keys() - set(known) for entry in rig.ledger.of(task, "START")}
    assert started_by_new.isdisjoint({entry.pid for task in known for entry in rig.ledger.of(task, "START")})
    assert new.code == 0


def test_this_release_works_and_starts_on_the_schema_of_the_next(rig: Rig) -> None:
    scheduler = rig.start_scheduler()
    workers = rig.start_workers(threads=2)
    api = rig.start_api()
    rig.client.submit("last", count=30, seconds=0.05)
    rig.await_effects(5)
    rig.database.query(_NEXT_SCHEMA)
    assert api.submit("fail", count=5, times=1).status == 201
    rig.client.submit("last", count=10, seconds=0.05)
    for process in (workers, scheduler):
        process.terminate()
        assert process.wait(15) == 0
    rig.start_scheduler()
    rig.start_workers(threads=2)
    assert api.submit("effect", count=5).status == 201
    rig.verify(within=40)
    assert set(rig.effects().values()) == {1}


def test_the_next_release_waits_for_its_schema(rig: Rig) -> None:
    names = rig.database.query("SELECT name FROM django_migrations WHERE app = 'callboard' ORDER BY name DESC LIMIT 2")
    (last,), (before,) = names
    rig.manage("migrate", "callboard", before, "--verbosity", "0")
    processes = [rig.start_scheduler(), rig.start_workers(threads=2)]
    for process in processes:
        wait_until(partial(says, process, f"migrations are missing: callboard.{last}"), timeout=30, what="it to wait")
    assert rig.database.workers() == []
    rig.manage("migrate", "--verbosity", "0")
    tasks = rig.client.submit("effect", count=10)
    rig.verify(within=30)
    assert rig.effects() == dict.fromkeys(tasks, 1)


def test_two_builds_side_by_side_under_load_lose_nothing_and_mix_nothing_up(rig: Rig) -> None:
    """Old workers are drained one after another while both kinds of tasks come in and new workers take over."""
    rig.start_scheduler()
    old = [rig.start_workers(processes=2, threads=2) for _ in range(2)]
    rig.await_workers(4)
    api = rig.start_api(env=NEXT)
    new: list[Process] = []
    pids: set[int] = set()

    def submit() -> None:
        rig.client.submit("last", count=20, seconds=0.05)
        assert api.submit("novelty", count=10).status == 201

    for leaving in old:
        submit()
        new.append(rig.start_workers(processes=2, threads=2, env=NEXT))
        rig.await_workers(4)
        submit()
        # As `systemctl reload` does it first, and then the stop of the old build.
        os.kill(leaving.pid, signal.SIGHUP)
        submit()
        leaving.terminate()
        assert leaving.wait(20) == 0
        pids |= {pid for process in new for pid in process.children()}
    submit()
    wait_until(lambda: not rig.database.unfinished(), timeout=90, what="both kinds to end")
    pids |= {pid for process in new for pid in process.children()}
    rig.verify(within=30)
    rows = rig.database.snapshot().tasks
    assert {(row.status, row.failures, row.crashes) for row in rows} == {("SUCCEEDED", 0, 0)}
    assert set(rig.effects().values()) == {1}
    novel = {row.id for row in rows if row.actor == "novelty"}
    assert len(novel) == 70
    started = {entry.pid for entry in rig.ledger.entries() if entry.event == "START" and entry.task in novel}
    assert started <= pids, "a build that does not know an actor never starts its task"
