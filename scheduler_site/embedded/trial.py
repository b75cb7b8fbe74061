"""A short end-to-end check of a running stack over HTTP."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

FINAL = {"SUCCEEDED", "DEAD", "CANCELLED"}
_PATIENCE_SECONDS = 60
_POLL_SECONDS = 0.1


class TrialError(Exception):
    """A check failed; the message says what was expected and what came."""


class Trial:
    """Submits a few tasks and checks how they end.

    Parameters:
        url: the api's address, without a slash at the end.
        token: belongs to a caller that may see its own tasks and dead letters.
        keep_going: called between polls; raises to give up.
    """

    def __init__(self, url: str, token: str, *, keep_going: Callable[[], None]) -> None:
        self.url = url
        self.token = token
        self.keep_going = keep_going

    def run(self) -> Iterator[str]:
        """Make one check after the other; yield a line for each that passed.

        Raises:
            TrialError: the first check that failed.
        """
        yield from self._check_success()
        yield from self._check_bulk()
        yield from self._check_death()

    def _check_success(self) -> Iterator[str]:
        task = self._finish(self._submit({"actor": "echo", "payload": {"message": {"hello": "world"}}}))
        self._expect(task, status="SUCCEEDED", result={"hello": "world"})
        yield "echo ran and returned its message"

    def _check_bulk(self) -> Iterator[str]:
        tasks = [{"actor": "sleep", "payload": {"duration": 0.05}, "priority": priority} for priority in (1, 5, 10)]
        for task in self._call("POST", "/api/v1/tasks/bulk", {"tasks": tasks})["tasks"]:
            self._expect(self._finish(task), status="SUCCEEDED")
        yield "three tasks of different priorities, submitted in one call, ran"

    def _check_death(self) -> Iterator[str]:
        task = self._submit({"actor": "demo_fail", "payload": {"fail": True}, "max_retries": 0})
        self._expect(self._finish(task), status="DEAD")
        yield "a failing task without retries died"
        letters = self._call("GET", "/api/v1/dlq?limit=100")["results"]
        if not any(task["id"] in json.dumps(letter) for letter in letters):
            raise TrialError(f"expected a dead letter of task {task['id']}, found {len(letters)} others")
        yield "its dead letter is in the DLQ"

    def _submit(self, body: dict[str, Any]) -> dict[str, Any]:
        task: dict[str, Any] = self._call("POST", "/api/v1/tasks", body)
        return task

    def _finish(self, task: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while task["status"] not in FINAL:
            if time.monotonic() > deadline:
                raise TrialError(f"{task['actor']} is still {task['status']} after {_PATIENCE_SECONDS} s")
            self.keep_going()
            time.sleep(_POLL_SECONDS)
            task = self._call("GET", f"/api/v1/tasks/{task['id']}")
        return task

    def _expect(self, task: dict[str, Any], **expected: Any) -> None:
        came = {name: task.get(name) for name in expected}
        if came != expected:
            raise TrialError(f"{task['actor']}: expected {expected}, got {came}; error: {task.get('error')}")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = Request(  # noqa: S310
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urlopen(request, timeout=30) as answer:  # noqa: S310
                return json.load(answer)
        except HTTPError as error:
            raise TrialError(f"{method} {path}: {error.code} {error.read(500).decode(errors='replace')}") from error
        except OSError as error:
            raise TrialError(f"{method} {path}: {error}") from error
