"""A trial of a stack: it submits, waits, and cleans up as far as the API allows."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tasks.management.callboard.verification.client import Answer, Client
from tasks.states import DUE, FINAL, Resolution

API = "/api/v1"
POLL_SECONDS = 0.2

T = TypeVar("T")


class Failed(Exception):
    """A check failed; the message says what was expected and what was found."""


class Skipped(Exception):
    """A check could not run; the message says why."""


class Trial:
    """Talks to one stack and remembers the tasks that it submitted.

    Parameters:
        limited: a caller who is not staff, if there is one.
        patience_seconds: the time-out of each step.
    """

    def __init__(self, client: Client, *, limited: Client | None = None, patience_seconds: float) -> None:
        self.client = client
        self.limited = limited
        self.patience_seconds = patience_seconds
        self.tag = f"verify-{secrets.token_hex(4)}"
        self._made: list[str] = []

    # --- Calls --------------------------------------------------------------------------------------------------

    def body(self, actor: str, payload: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """Build the body of a submission, tagged with this trial's name."""
        return {"actor": actor, "payload": payload or {}, "tags": [self.tag], **fields}

    def submit(self, actor: str, payload: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """Submit one task and return it."""
        task: dict[str, Any] = self.expect(201, self.post("/tasks", self.body(actor, payload, **fields)))
        return task

    def submit_many(self, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Submit many tasks at once and return them."""
        tasks: list[dict[str, Any]] = self.expect(201, self.post("/tasks/bulk", {"tasks": bodies}))["tasks"]
        return tasks

    def post(
        self,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        client: Client | None = None,
    ) -> Answer:
        """Send a POST and remember the tasks that it created."""
        answer = (client or self.client).call("POST", API + path, body, headers=headers)
        if answer.status == 201:
            self._made += [task["id"] for task in answer.body.get("tasks", [answer.body])]
        return answer

    def get(self, path: str) -> Any:
        """Read a resource that must exist."""
        return self.expect(200, self.client.call("GET", API + path))

    def expect(self, status: int, answer: Answer) -> Any:
        """Return an answer's body.

        Raises:
            Failed: it has another status.
        """
        if answer.status != status:
            raise Failed(f"expected {status}, got {answer.problem}")
        return answer.body

    def dead_letters(self, task: Mapping[str, Any]) -> list[dict[str, Any]]:
        """List the dead letters of a task, newest first."""
        found: list[dict[str, Any]] = self.get(f"/dlq?task={task['id']}")["results"]
        return found

    # --- Waiting ------------------------------------------------------------------------------------------------

    def until(self, look: Callable[[], T | None], *, what: Callable[[], str]) -> T:
        """Poll until there is a result.

        Raises:
            Failed: there was none in time; ``what`` describes the current state.
        """
        deadline = time.monotonic() + self.patience_seconds
        while (found := look()) is None:
            if time.monotonic() > deadline:
                raise Failed(f"{what()} after {self.patience_seconds:g} s")
            time.sleep(POLL_SECONDS)
        return found

    def finish(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Wait until a task has ended, and return it."""
        latest = dict(task)

        def look() -> dict[str, Any] | None:
            latest.update(self.get(f"/tasks/{task['id']}"))
            return latest if latest["status"] in FINAL else None

        return self.until(look, what=lambda: f"a task of {task['actor']} is still {latest['status']}{_held_up(latest)}")

    # --- Cleaning up --------------------------------------------------------------------------------------------

    def clean_up(self) -> int:
        """Discard dead letters, cancel and delete the tasks; return how many the API did not delete."""
        return sum(not self._remove(task_id) for task_id in self._made)

    def _remove(self, task_id: str) -> bool:
        call, path = self.client.call, f"{API}/tasks/{task_id}"
        task = call("GET", path)
        if task.status != 200:
            return True
        if task.body["failures"] or task.body["status"] in FINAL:
            for letter in self._open_dead_letters(task_id):
                call("POST", f"{API}/dlq/{letter}/discard")
        if task.body["status"] not in FINAL:
            call("POST", f"{path}/cancel")
        return call("DELETE", path).status in {204, 404}

    def _open_dead_letters(self, task_id: str) -> list[str]:
        answer = self.client.call("GET", f"{API}/dlq?task={task_id}&resolution={Resolution.OPEN.name}")
        return [letter["id"] for letter in answer.body["results"]] if answer.status == 200 else []


def _held_up(task: Mapping[str, Any]) -> str:
    if task["status"] not in DUE or task.get("expected_start_seconds", 0) is not None:
        return ""
    return " (its queue is paused, or no worker serves it)"
