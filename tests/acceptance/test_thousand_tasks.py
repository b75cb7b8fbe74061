"""1,000 tasks in one bulk submission, on each supported stack."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.servers import RedisServer
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import Databases, SystemPostgresServer, start_postgres

COUNT = 1_000


def check(rig: Rig) -> None:
    rig.await_workers()
    tasks = rig.client.submit("effect", count=COUNT)
    rig.verify(within=30)
    assert rig.database.counts() == {"SUCCEEDED": COUNT}
    assert rig.effects() == dict.fromkeys(tasks, 1)


def test_on_redis_with_two_worker_processes(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=2, threads=4)
    check(rig)


def test_on_the_in_process_broker(rig_in_process: Rig) -> None:
    rig_in_process.start_scheduler("--with-workers", "--threads", "4")
    check(rig_in_process)


@pytest.fixture(scope="module")
def system_databases() -> Iterator[Databases]:
    if not SystemPostgresServer.programs():
        pytest.skip("needs a PostgreSQL of the system's packages: apt install postgresql")
    folder = temporary_folder()
    server = start_postgres(folder, kind=SystemPostgresServer)
    yield Databases(server)
    server.stop(immediate=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_on_a_postgresql_and_a_redis_of_the_system(
    system_databases: Databases, redis_server: RedisServer, tmp_path: Path
) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("needs a Redis on the PATH: apt install redis-server")
    with system_databases.fresh() as url:
        rig = Rig(database_url=url, broker=redis_server, folder=tmp_path)
        try:
            rig.start_scheduler()
            rig.start_workers(processes=2, threads=4)
            check(rig)
            ((version,),) = rig.database.query("SHOW server_version")
            assert int(version.split(".")[0]) == int(SystemPostgresServer.programs()[-1].parts[-3])
        finally:
            rig.clear()
