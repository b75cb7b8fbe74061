"""The REST API as users see it: gunicorn's process, called over HTTP, with every submission in the history."""

import json
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.acceptance.harness.history import Answer, History, Submission
from tests.acceptance.harness.processes import Process

#: A request may wait for a lock as long as the lock lasts.
TIMEOUT_SECONDS = 40
#: Between two tries of a submission.
PAUSE_SECONDS = 0.5


class Reply(NamedTuple):
    """An answer of the API; status 0 if none came."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Api:
    """One API process, and a token for it."""

    def __init__(self, process: Process, *, port: int, token: str, history: History) -> None:
        self.process = process
        self._root = f"http://127.0.0.1:{port}"
        self._token = token
        self._history = history

    def call(self, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a request; an error is a reply too."""
        request = Request(
            f"{self._root}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", **headers},
        )
        try:
            with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return Reply(answer.status, dict(answer.headers), json.load(answer))
        except HTTPError as error:
            with error:
                return Reply(error.code, dict(error.headers), json.loads(error.read() or "null"))
        except (OSError, HTTPException):
            return Reply(0, {}, None)

    def submit(self, actor: str, *, count: int = 1, key: str = "", tries: int = 1, **payload: Any) -> Reply:
        """Submit tasks in one request, under an idempotency key if given, and again while a 503 and ``tries`` are left.

        The history has it once, with the last answer.
        """
        name = f"request-{len(self._history.submissions)}"
        body = {"tasks": [{"actor": actor, "payload": payload, "tags": [name]}] * count}
        headers = {"Idempotency-Key": key} if key else {}
        for left in reversed(range(tries)):
            reply = self.call("/api/v1/tasks/bulk", body, **headers)
            if reply.status != 503:
                break
            # While the database is silent a 503 comes at once.
            time.sleep(PAUSE_SECONDS if left else 0)
        ids = tuple(one["id"] for one in reply.body["tasks"]) if reply.status in {200, 201} else ()
        self._history.submissions.append(Submission(name, _meaning(reply.status), count, ids))
        return reply

    @property
    def answers(self) -> bool:
        """Whether the process accepts requests."""
        return self.call("/healthz").status == 200


def _meaning(status: int) -> Answer:
    # After a 5xx, or without an answer, the commit may have succeeded.
    if status in {200, 201}:
        return "ok"
    return "failed" if 400 <= status < 500 else "unknown"
