"""Watchers of a running stack: they hold no thread of the api, and outlive a restart of the database."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.harness.api import Api
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import Databases
from tests.waiting import wait_until

WATCHERS, THREADS = 12, 2


class Watcher(threading.Thread):
    """Reads the events of a task to the end, as a browser does: it comes back with the last id that it has."""

    def __init__(self, api: Api, task: str) -> None:
        super().__init__(daemon=True)
        self.events: list[dict[str, Any]] = []
        self._api, self._task = api, task

    def run(self) -> None:
        while self._read() != 204:
            time.sleep(0.1)

    def _read(self) -> int:
        host = self._api._root.removeprefix("http://")
        headers = {"Authorization": f"Bearer {self._api._token}", "Accept": "text/event-stream"}
        if self.events:
            headers["Last-Event-ID"] = self.events[-1]["id"]
        connection = http.client.HTTPConnection(host, timeout=60)
        try:
            connection.request("GET", f"/api/v1/tasks/{self._task}/events", headers=headers)
            answer = connection.getresponse()
            if answer.status == 200:
                self.events += _events(answer)
            return answer.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    @property
    def told(self) -> list[str]:
        """What it was told, in short."""
        return [str(one["outcome"] or one["status"] or one["type"]) for one in self.events]


def _events(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    for line in answer:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


def test_many_watch_while_the_api_goes_on_and_the_database_restarts(rig: Rig, databases: Databases) -> None:
    api = rig.start_api(env={"API_THREADS": str(THREADS)})
    tasks = [str(one["id"]) for one in api.submit("effect", count=WATCHERS).body["tasks"]]
    watchers = [Watcher(api, task) for task in tasks]
    for one in watchers:
        one.start()
    wait_until(lambda: all(one.events for one in watchers), timeout=20, what="all watchers to be told something")
    # Six times as many watch as there are threads.
    started = time.monotonic()
    assert api.call(f"/api/v1/tasks/{tasks[0]}").status == 200
    assert time.monotonic() - started < 5

    databases.server.stop(immediate=True)
    databases.server.start()
    rig.start_scheduler()
    rig.start_workers(threads=2)
    for one in watchers:
        one.join(60)
        assert not one.is_alive(), one.told
        assert one.told.count("submitted") == 1
        assert one.told[-2:] == ["SUCCEEDED", "SUCCEEDED"]
        assert len({event["id"] for event in one.events}) == len(one.events)
    rig.verify(within=30)


@pytest.mark.slow
def test_a_submission_gets_its_result_and_holds_no_thread(rig: Rig) -> None:
    api = rig.start_api(env={"API_THREADS": str(THREADS)})
    rig.was_verified = True
    replies: list[Any] = []
    body = {"actor": "effect", "payload": {}}

    def submit() -> None:
        replies.append(api.call("/api/v1/tasks?wait=30", body))

    threads = [threading.Thread(target=submit) for _ in range(3 * THREADS)]
    for thread in threads:
        thread.start()
    wait_until(lambda: rig.database.query("SELECT count(*) FROM callboard_task")[0][0] == len(threads), timeout=20)
    assert api.call("/api/v1/tasks").status == 200
    rig.start_scheduler()
    rig.start_workers(threads=2)
    for thread in threads:
        thread.join(60)
    assert [(one.status, one.headers["Preference-Applied"], one.body["status"]) for one in replies] == [
        (201, "wait=30", "SUCCEEDED")
    ] * len(threads)
