"""No secret reaches the log of any process, at any level, however an actor treats it."""

import pytest

from tests.acceptance.harness.rig import Rig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SECRET = "hunter2-s3cr3t"


def test_no_secret_is_logged_at_debug_level(rig: Rig) -> None:
    talkative = {"LOG_LEVEL": "DEBUG", "DEBUG": "true"}
    rig.start_scheduler(env=talkative)
    rig.start_workers(env=talkative)
    api = rig.start_api(env=talkative)
    (task,) = api.submit("confess", password=SECRET).body["tasks"]
    rig.settle(30)
    api.call(f"/api/v1/tasks/{task['id']}?token={SECRET}")
    api.call("/api/v1/tasks", {"actor": "nobody", "payload": {"password": SECRET}})
    rig.close()
    rig.was_verified = True
    for process in rig.processes:
        lines = process.log.read_text().splitlines()
        assert any('"debug"' in line for line in lines), process.name
        assert [line for line in lines if SECRET in line] == [], process.name
    workers = "".join(process.log.read_text() for process in rig.processes if process.name.startswith("workers"))
    assert "the word is ********" in workers
    assert "cannot log in with ********" in workers
    assert "Received." in workers
