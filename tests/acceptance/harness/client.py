"""The client of a test: submits from a process of its own and keeps the history."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.acceptance.harness.history import History, Submission
from tests.acceptance.harness.servers import ROOT


class Client:
    """Talks to ``submitter``, which ends when its input closes."""

    def __init__(self, *, env: Mapping[str, str], folder: Path) -> None:
        self.history = History()
        self.log = folder / "client.log"
        with self.log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.acceptance.harness.submitter"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env, cwd=ROOT, text=True,
            )  # fmt: skip

    def submit(self, actor: str, *, count: int = 1, priority: int | None = None, **payload: Any) -> list[str]:
        """Submit tasks in one call and return their ids; none if the call failed."""
        return self.submit_all([{"actor": actor, "payload": payload, "priority": priority}] * count)

    def submit_all(self, tasks: list[dict[str, Any]]) -> list[str]:
        """Submit tasks, each given by the keyword arguments of ``lifecycle.Submission``."""
        name = f"submission-{len(self.history.submissions)}"
        answer = self._ask({"verb": "submit", "tasks": [{**task, "tags": [name]} for task in tasks]})
        ids = tuple(answer.get("result", ()))
        self.history.submissions.append(Submission(name, answer["answer"], len(tasks), ids))
        return list(ids)

    def submit_batch(self, tasks: list[dict[str, Any]], callbacks: dict[str, dict[str, Any]]) -> None:
        """Submit tasks as a batch, with what it calls back."""
        name = f"submission-{len(self.history.submissions)}"
        called = f"{name}-callbacks"
        command = {
            "verb": "batch",
            "tasks": [{**task, "tags": [name]} for task in tasks],
            "callbacks": {one: {**task, "tags": [called]} for one, task in callbacks.items()},
        }
        answer = self._ask(command)
        created = answer.get("result", {"task_ids": ()})
        self.history.submissions += [
            Submission(name, answer["answer"], len(tasks), tuple(created["task_ids"])),
            Submission(called, answer["answer"], len(callbacks), is_counted=False),
        ]
        if "id" in created:
            self.history.batches.append(created["id"])

    def cancel(self, task: str) -> str:
        """Cancel a task; return its status."""
        return str(self._ask({"verb": "cancel", "id": task})["result"])

    def retry(self, task: str) -> str:
        """Retry or re-drive a task; return its status."""
        status = str(self._ask({"verb": "retry", "id": task})["result"])
        self.history.second_lives.append(task)
        return status

    def edit(self, task: str, **change: Any) -> str:
        """Change a waiting task; return its status."""
        return str(self._ask({"verb": "edit", "id": task, "change": change})["result"])

    def issue_token(self, user: str = "operator", *, is_superuser: bool = True) -> str:
        """Create a user with a token; return its secret."""
        return str(self._ask({"verb": "issue", "user": user, "is_superuser": is_superuser})["result"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"answer": "unknown", "error": "the client died"}
        return answer
