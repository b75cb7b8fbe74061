"""A fake stack: it answers as the API does, at once, and with the flaws that a test asks for."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

STAFF, USER = "staff-token", "user-token"
THREADS = 8
LIMIT = 50

Reply = tuple[int, dict[str, str], Any]


class FakeStack:
    """Tasks in memory, whose times are made up when they are read.

    Parameters:
        flaws: what it does wrong, by name; see where they are asked for.
        workers: what ``GET workers`` answers; None stands for a stack that has no such address.
    """

    def __init__(self, *flaws: str, workers: list[dict[str, Any]] | None = None) -> None:
        self.flaws = frozenset(flaws)
        self.workers = workers
        self.tasks: dict[str, dict[str, Any]] = {}
        self.letters: list[dict[str, Any]] = []
        self.attempts: dict[str, list[dict[str, Any]]] = {}
        self.keys: dict[str, tuple[Any, dict[str, Any]]] = {}
        self.bucket = LIMIT
        self.deleted: list[str] = []
        self._now = datetime(2030, 1, 1, tzinfo=UTC)

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any, headers: Any) -> Reply:
        """Answer one request."""
        if path == "/health":
            parts = {"database": "ok", "workers": "none" if "no workers" in self.flaws else "ok"}
            return _problem(503, "not_ready") if "not ready" in self.flaws else (200, {}, {"components": parts})
        match method, path.removeprefix("/api/v1/").split("/"):
            case "GET", ["actors"]:
                names = ["echo", "sleep", "demo_fail", "demo_hang"]
                return 200, {}, {"results": [{"name": name} for name in names if f"no {name}" not in self.flaws]}
            case "GET", ["workers"] if self.workers is not None:
                return 200, {}, {"results": self.workers}
            case "POST", ["tasks"]:
                return self._submit([body], body, headers)
            case "POST", ["tasks", "bulk"]:
                status, more, task = self._submit(body["tasks"], body, headers)
                return status, more, {"tasks": task} if status == 201 else task
            case "GET", ["tasks", id]:
                return (200, {}, self._read(self.tasks[id])) if id in self.tasks else _problem(404, "not_found")
            case "DELETE", ["tasks", id]:
                if "no delete" in self.flaws:
                    return _problem(405, "method_not_allowed")
                self.deleted.append(id)
                return 204, {}, None
            case "GET", ["tasks", id, "attempts"]:
                return 200, {}, {"results": self.attempts[id]}
            case "POST", ["tasks", id, "cancel"]:
                if self.tasks[id]["status"] == "PENDING" and "cannot cancel" not in self.flaws:
                    self.tasks[id]["status"] = "CANCELLED"
                return 200, {}, self.tasks[id]
            case "GET", ["dlq"]:
                wanted = query.get("resolution", ["OPEN", "REDRIVEN", "DISCARDED"])
                found = [
                    one for one in self.letters if one["task_id"] == query["task"][0] and one["resolution"] in wanted
                ]
                return 200, {}, {"results": found[::-1]}
            case "POST", ["dlq", id, "redrive"]:
                return self._redrive(next(one for one in self.letters if one["id"] == id))
            case "POST", ["dlq", id, "discard"]:
                next(one for one in self.letters if one["id"] == id)["resolution"] = "DISCARDED"
                return 200, {}, {}
        return _problem(404, "not_found")

    # --- Submission ---------------------------------------------------------------------------------------------

    def _submit(self, bodies: list[dict[str, Any]], whole: Any, headers: Any) -> Reply:
        more: dict[str, str] = {}
        if headers["Authorization"] == f"Bearer {USER}" and "no limit" not in self.flaws:
            if self.bucket < len(bodies) and "endless" not in self.flaws:
                return _problem(429, "rate_limited", **({} if "no wait" in self.flaws else {"Retry-After": "2"}))
            self.bucket -= len(bodies)
            more = {"RateLimit-Limit": str(LIMIT), "RateLimit-Remaining": str(max(0, self.bucket))}
        if key := headers.get("Idempotency-Key"):
            if "no keys" in self.flaws:
                return _problem(400, "not_supported")
            if key in self.keys and "forgetful" not in self.flaws:
                known, task = self.keys[key]
                is_same = known == whole or "careless" in self.flaws
                return (200, {"Idempotency-Replayed": "true"}, task) if is_same else _problem(422, "reused")
        made = [self._make(body) for body in bodies]
        if key:
            self.keys[key] = (whole, made[0])
        return 201, more, made if whole is not bodies[0] else made[0]

    def _make(self, body: dict[str, Any]) -> dict[str, Any]:
        id = str(uuid4())
        self.tasks[id] = {
            "priority": 5, "max_retries": 3, "min_backoff_seconds": 2, "delay_seconds": 0, **body,
            "id": id, "status": "PENDING", "created_at": self._tick(), "started_at": None, "finished_at": None,
            "attempt": 0, "failures": 0, "result": None, "error": None,
            "expected_start_seconds": None if "paused" in self.flaws else 0,
        }  # fmt: skip
        return dict(self.tasks[id])

    def _tick(self, seconds: float = 0.001) -> str:
        self._now += timedelta(seconds=seconds)
        return self._now.isoformat().replace("+00:00", "Z")

    # --- What becomes of tasks ----------------------------------------------------------------------------------

    def _read(self, task: dict[str, Any]) -> dict[str, Any]:
        if task["status"] == "PENDING" and not task["delay_seconds"] and "paused" not in self.flaws:
            {"sleep": self._run_all_sleeps, "demo_fail": self._fail}.get(task["actor"], self._echo)(task)
        return task

    def _echo(self, task: dict[str, Any]) -> None:
        result = "something else" if "wrong result" in self.flaws else task["payload"].get("message")
        task.update(status="SUCCEEDED", started_at=self._tick(), finished_at=self._tick(), attempt=1, result=result)

    def _run_all_sleeps(self, _: Any) -> None:
        waiting = [one for one in self.tasks.values() if one["actor"] == "sleep" and one["status"] == "PENDING"]
        threads = 10_000 if "no backlog" in self.flaws else THREADS
        at_once = waiting[:threads]
        if self.workers is not None:
            at_once += [one for one in waiting if one["priority"] < 4 and one not in at_once]
        rest = [one for one in waiting if one not in at_once]
        if "fifo" not in self.flaws:
            rest.sort(key=lambda one: -one["priority"])
        if "fifo in band" in self.flaws:
            rest.sort(key=lambda one: one["priority"] < 8)
            high = [one for one in rest if one["priority"] >= 8]
            rest[: len(high)] = sorted(high, key=lambda one: one["created_at"])
        for task in at_once:
            task.update(status="SUCCEEDED", started_at=task["created_at"], finished_at=self._tick(), attempt=1)
        for task in rest:
            task.update(status="SUCCEEDED", started_at=self._tick(0.01), finished_at=self._tick(), attempt=1)

    def _fail(self, task: dict[str, Any]) -> None:
        found = self.attempts[task["id"]] = []
        for number in range(task["max_retries"] + 1):
            if number:
                self._tick(0.0 if "hasty" in self.flaws else task["min_backoff_seconds"] * 2 ** (number - 1))
            found.append(
                {"number": number + 1, "outcome": "FAILED", "started_at": self._tick(), "finished_at": self._tick()}
            )
        if "lazy" in self.flaws:
            del found[1:]
        task.update(status="DEAD", attempt=len(found), failures=len(found), finished_at=self._tick())
        if "no letter" not in self.flaws:
            self._write_letter(task)

    def _write_letter(self, task: dict[str, Any]) -> None:
        reason = "gave_up" if "wrong reason" in self.flaws else "max_retries_exceeded"
        letter = {"id": str(uuid4()), "task_id": task["id"], "resolution": "OPEN", "reason": reason}
        self.letters.append({**letter, "attempt": task["attempt"]})

    def _redrive(self, letter: dict[str, Any]) -> Reply:
        if letter["resolution"] != "OPEN" and "redrives twice" not in self.flaws:
            return _problem(409, "already_resolved")
        letter["resolution"] = "REDRIVEN"
        task = self.tasks[letter["task_id"]]
        task["attempt"] += 1
        if "no second life" not in self.flaws:
            self._write_letter(task)
        return 200, {}, letter


def _problem(status: int, code: str, **headers: str) -> Reply:
    return status, headers, {"code": code, "detail": code, "errors": [{"field": "x", "code": code, "message": code}]}


@contextmanager
def serving(stack: FakeStack) -> Iterator[str]:
    """Serve a fake stack on a free port; gives its address."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            with lock:
                status, headers, body = stack.answer(
                    self.command, parts.path, parse_qs(parts.query), json.loads(raw) if raw else None, self.headers
                )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if body is None else json.dumps(body).encode())

        do_GET = do_POST = do_DELETE = _any  # noqa: N815 - as http.server looks for them

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
