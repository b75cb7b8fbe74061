"""A drill: dump while tasks run, lose everything that came after, restore into an empty database, and go on."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.programs import find_postgres
from scheduler_site.embedded.servers import PostgresServer
from tests.acceptance.harness.api import Api
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import Databases, execute
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

DUMPED, LATER = 150, 30


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[str]:
    """A database without a table, as a new server has it."""
    admin = urlsplit(databases.server.superuser_url)._replace(path="/postgres").geturl()
    execute(admin, f"CREATE DATABASE restored OWNER {PostgresServer.role}")
    yield urlsplit(databases.server.url)._replace(path="/restored").geturl()
    execute(admin, "DROP DATABASE restored WITH (FORCE)")


def run(program: str, *words: str) -> None:
    """Run a program of PostgreSQL; as in docs/how-to.md."""
    postgres = find_postgres(store=temporary_folder(), account=None)
    answer = subprocess.run(
        [postgres.path.with_name(program), *words], capture_output=True, text=True, timeout=120,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr


def submit_once(api: Api, key: str) -> str:
    """Submit with an idempotency key; give the id of the task."""
    reply = api.submit("effect", key=key)
    assert reply.status in {200, 201}, reply
    return str(reply.body["tasks"][0]["id"])


def test_a_restored_database_goes_on_where_the_dump_was_made(rig: Rig, empty_database: str, tmp_path: Path) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=2, threads=4)
    rig.await_workers(2)
    token = rig.client.issue_token()
    once = submit_once(rig.start_api(token=token), "order-7")
    tasks = [once, *rig.client.submit("last", count=DUMPED, seconds=0.2)]
    rig.await_effects(DUMPED // 3, timeout=40)
    dump = str(tmp_path / "callboard.dump")
    run("pg_dump", "--format=custom", f"--file={dump}", rig.database.url)
    # The rest of the story never happened, as far as the new database knows.
    later = rig.client.submit("effect", count=LATER)
    rig.await_effects(len(tasks) + LATER, timeout=60)
    for process in rig.processes:
        process.kill()
    run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={empty_database}", dump)

    (tmp_path / "second").mkdir()
    second = Rig(database_url=empty_database, broker=rig.redis, folder=tmp_path / "second")
    try:
        goes_on_after_a_restore(second, token=token, tasks=tasks, later=later)
    finally:
        for process in second.processes:
            process.clear()
        with suppress(AttributeError):
            second.client.close()
    rig.was_verified = True


def goes_on_after_a_restore(second: Rig, *, token: str, tasks: list[str], later: list[str]) -> None:
    rows = {row.id: row for row in second.database.snapshot().tasks}
    assert set(rows) == set(tasks), "nothing that came after the dump is in it"
    ended = {id for id, row in rows.items() if row.status == "SUCCEEDED"}
    running = {id for id, row in rows.items() if row.status == "RUNNING"}
    assert 0 < len(ended) < len(tasks)
    # Redis still has the hints of the other life, and PostgreSQL workers that nobody will hear of again.
    second.start_scheduler()
    second.start_workers(processes=2, threads=4)
    second.settle(60)
    assert submit_once(second.start_api(token=token), "order-7") == tasks[0], "token and key are remembered"
    second.client.submit("effect", count=5)
    second.settle(30)
    ran_again = set(second.effects())
    assert not ran_again & ended, "what the dump knows as done is not done again"
    assert set(tasks) - ended <= ran_again
    assert set(second.effects().values()) == {1}
    assert not ran_again & set(later)
    after = {row.id: row for row in second.database.snapshot().tasks}
    assert {row.status for row in after.values()} == {"SUCCEEDED"}
    assert {row.failures for row in after.values()} == {0}
    assert {id for id, row in after.items() if row.crashes} <= running, "only what ran may have lost its worker"
    assert second.database.snapshot().letters == []
    wait_until(lambda: len(second.database.present_workers()) == 2, timeout=15)
    assert second.stop() == []
