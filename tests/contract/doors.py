"""REST and gRPC behind one face, so that a case is written once and told what both doors did."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from google.protobuf.json_format import ParseDict

from tasks.contract.watching import hub
from tasks.rpc import calls, messages
from tasks.rpc.calls import Origin
from tasks.rpc.generated import task_pb2 as pb
from tasks.rpc.services import METHODS, PACKAGE
from tasks.telemetry import trace
from tests.callers import Caller

API = "/api/v1"


class Outcome(NamedTuple):
    """What a door answered.

    Parameters:
        code: of the error; "" if it went well.
        fields: those that the error names.
        body: the answer, as REST writes it.
    """

    code: str
    fields: frozenset[str]
    body: Mapping[str, Any]


class Rest:
    """The REST API."""

    def submit(self, caller: Caller, *, key: str | None = None, **body: Any) -> Outcome:
        return self._post(caller, "/tasks", {**body, **({"idempotency_key": key} if key else {})})

    def submit_many(self, caller: Caller, *bodies: Any, key: str | None = None, **more: Any) -> Outcome:
        return self._post(caller, "/tasks/bulk", {"tasks": bodies, **({"idempotency_key": key} if key else {}), **more})

    def task(self, caller: Caller, id: Any) -> Outcome:
        return self._get(caller, f"/tasks/{id}")

    def result(self, caller: Caller, id: Any) -> Outcome:
        return self._get(caller, f"/tasks/{id}/result")

    def events(self, caller: Caller, id: Any, last: str = "") -> Outcome:
        headers = {"last-event-id": last} if last else {}
        outcome = of_response(caller.get(f"{API}/tasks/{id}/events", headers=headers))
        # Clients of gRPC know no headers.
        return outcome._replace(fields=frozenset({"Last-Event-ID": "last_event_id"}.get(f, f) for f in outcome.fields))

    def tasks(self, caller: Caller, **filters: Any) -> Outcome:
        return self._list(caller, "/tasks", filters)

    def cancel(self, caller: Caller, id: Any, **body: Any) -> Outcome:
        return self._post(caller, f"/tasks/{id}/cancel", body)

    def retry(self, caller: Caller, id: Any, **body: Any) -> Outcome:
        return self._post(caller, f"/tasks/{id}/retry", body)

    def dead_letters(self, caller: Caller, **filters: Any) -> Outcome:
        return self._list(caller, "/dlq", filters)

    def dead_letter(self, caller: Caller, id: Any) -> Outcome:
        return self._get(caller, f"/dlq/{id}")

    def redrive(self, caller: Caller, id: Any, **body: Any) -> Outcome:
        return self._post(caller, f"/dlq/{id}/redrive", body)

    def discard(self, caller: Caller, id: Any, **body: Any) -> Outcome:
        return self._post(caller, f"/dlq/{id}/discard", body)

    def restore(self, caller: Caller, id: Any, **body: Any) -> Outcome:
        return self._post(caller, f"/dlq/{id}/restore", body)

    def queues(self, caller: Caller) -> Outcome:
        return self._list(caller, "/queues", {})

    def pause(self, caller: Caller, name: str, **body: Any) -> Outcome:
        return self._post(caller, f"/queues/{name}/pause", body)

    def resume(self, caller: Caller, name: str, **body: Any) -> Outcome:
        return self._post(caller, f"/queues/{name}/resume", body)

    def workers(self, caller: Caller, **filters: Any) -> Outcome:
        return self._list(caller, "/workers", filters)

    def worker(self, caller: Caller, id: Any) -> Outcome:
        return self._get(caller, f"/workers/{id}")

    def drain(self, caller: Caller, id: Any) -> Outcome:
        return of_response(caller.delete(f"{API}/workers/{id}"))

    def stats(self, caller: Caller, **filters: Any) -> Outcome:
        return self._get(caller, "/stats", **filters)

    def _post(self, caller: Caller, path: str, body: Any) -> Outcome:
        return of_response(caller.send(f"{API}{path}", body))

    def _get(self, caller: Caller, path: str, **filters: Any) -> Outcome:
        return of_response(caller.get(f"{API}{path}", filters))

    def _list(self, caller: Caller, path: str, filters: Any) -> Outcome:
        outcome = self._get(caller, path, **filters)
        if outcome.code:
            return outcome
        body = dict(outcome.body)
        if cursors := {name: body.get(name) for name in ("next", "previous") if body.get(name)}:
            body |= {f"{name}_cursor": parse_qs(urlsplit(str(url)).query)["cursor"][0] for name, url in cursors.items()}
        return outcome._replace(body=body)


def of_response(response: Any) -> Outcome:
    body = response.json() if response.content else {}
    if response.status_code < 400:
        return Outcome("", frozenset(), body)
    return Outcome(body["code"], frozenset(error["field"] for error in body["errors"]), body)


class Grpc:
    """The gRPC API, without the network: ``tests/rpc/test_server.py`` has that."""

    def submit(self, caller: Caller, *, key: str | None = None, **body: Any) -> Outcome:
        asked = {"task": as_task(body), **({"idempotency_key": key} if key else {})}
        return _only(self._call(caller, "TaskService/SubmitTask", asked), "task")

    def submit_many(self, caller: Caller, *bodies: Any, key: str | None = None, **more: Any) -> Outcome:
        asked = {"tasks": list(map(as_task, bodies)), **({"idempotency_key": key} if key else {}), **more}
        return self._call(caller, "TaskService/SubmitTasks", asked)

    def task(self, caller: Caller, id: Any) -> Outcome:
        return _only(self._call(caller, "TaskService/GetTask", {"id": str(id)}), "task")

    def result(self, caller: Caller, id: Any) -> Outcome:
        return self._call(caller, "TaskService/GetResult", {"id": str(id)})

    def events(self, caller: Caller, id: Any, last: str = "") -> Outcome:
        asked = pb.WatchTaskRequest(id=str(id), last_event_id=last)
        with without_thread():
            found = answer("TaskService/WatchTask", asked.SerializeToString(), caller)
            if found.error is not None:
                return of_answer(found)
            (watch,) = found.watches
            hub.look([watch])
            change = watch.take()
            watch.stop()
        events = change.events if change else ()
        results = [_as_rest(messages.read(pb.Event, _event(one))) for one in events]
        for one in results:
            # That of a unique key is in lower case.
            one["outcome"] = one.get("outcome", "").upper() or None
        return Outcome("", frozenset(), {"results": results})

    def tasks(self, caller: Caller, **filters: Any) -> Outcome:
        filters = _with_enums(filters, status="TASK_STATUS", band="BAND")
        return self._list(caller, "TaskService/ListTasks", filters, "tasks")

    def cancel(self, caller: Caller, id: Any, **body: Any) -> Outcome:
        return _only(self._call(caller, "TaskService/CancelTask", {"id": str(id), **body}), "task")

    def retry(self, caller: Caller, id: Any, **body: Any) -> Outcome:
        return _only(self._call(caller, "TaskService/RetryTask", {"id": str(id), **body}), "task")

    def dead_letters(self, caller: Caller, **filters: Any) -> Outcome:
        filters = _with_enums(filters, reason="DEATH_REASON", resolution="RESOLUTION")
        return self._list(caller, "DeadLetterService/ListDeadLetters", filters, "dead_letters")

    def dead_letter(self, caller: Caller, id: Any) -> Outcome:
        return _only(self._call(caller, "DeadLetterService/GetDeadLetter", {"id": str(id)}), "dead_letter")

    def redrive(self, caller: Caller, id: Any, **body: Any) -> Outcome:
        asked = {"id": str(id), **{name: _as_text(name, value) for name, value in body.items()}}
        outcome = self._call(caller, "DeadLetterService/RedriveDeadLetter", asked)
        return _only(outcome, "dead_letter")

    def discard(self, caller: Caller, id: Any, **body: Any) -> Outcome:
        outcome = self._call(caller, "DeadLetterService/DiscardDeadLetter", {"id": str(id), **body})
        return _only(outcome, "dead_letter")

    def restore(self, caller: Caller, id: Any, **body: Any) -> Outcome:
        outcome = self._call(caller, "DeadLetterService/RestoreDeadLetter", {"id": str(id), **body})
        return _only(outcome, "dead_letter")

    def queues(self, caller: Caller) -> Outcome:
        return self._list(caller, "QueueService/ListQueues", {}, "queues")

    def pause(self, caller: Caller, name: str, **body: Any) -> Outcome:
        return _only(self._call(caller, "QueueService/PauseQueue", {"name": name, **body}), "queue")

    def resume(self, caller: Caller, name: str, **body: Any) -> Outcome:
        return _only(self._call(caller, "QueueService/ResumeQueue", {"name": name, **body}), "queue")

    def workers(self, caller: Caller, **filters: Any) -> Outcome:
        return self._list(caller, "WorkerService/ListWorkers", _with_enums(filters, status="WORKER_STATUS"), "workers")

    def worker(self, caller: Caller, id: Any) -> Outcome:
        return _only(self._call(caller, "WorkerService/GetWorker", {"id": str(id)}), "worker")

    def drain(self, caller: Caller, id: Any) -> Outcome:
        return _only(self._call(caller, "WorkerService/DrainWorker", {"id": str(id)}), "worker")

    def stats(self, caller: Caller, **filters: Any) -> Outcome:
        return self._call(caller, "StatsService/GetStats", filters)

    def _call(self, caller: Caller, name: str, asked: Mapping[str, Any]) -> Outcome:
        method = METHODS[f"/{PACKAGE}.{name}"]
        return of_answer(answer(name, ParseDict(dict(asked), method.request()).SerializeToString(), caller))

    def _list(self, caller: Caller, name: str, filters: Any, rows: str) -> Outcome:
        outcome = self._call(caller, name, filters)
        return (
            outcome if outcome.code else outcome._replace(body={**outcome.body, "results": outcome.body.get(rows, [])})
        )


def _event(values: Mapping[str, Any]) -> bytes:
    return messages.write(pb.Event, values).SerializeToString()


@contextmanager
def without_thread() -> Iterator[None]:
    """Keep the hub's thread away, which does not see what this test's session has written."""
    before, hub._thread = hub._thread, threading.current_thread()
    try:
        yield
    finally:
        hub._thread = before


def answer(name: str, raw: bytes, caller: Caller | None = None, **metadata: str) -> calls.Answer:
    """Answer the bytes of a call in this thread, on this test's session."""
    authorization = caller.defaults.get("HTTP_AUTHORIZATION") if caller else None
    sent = {**metadata, **({"authorization": authorization} if authorization else {})}
    with trace.bound(calls.trace_id_of(sent)):
        return calls.answer(METHODS[f"/{PACKAGE}.{name}"], raw, Origin(sent, "127.0.0.1"))


def of_answer(answer: calls.Answer) -> Outcome:
    """Read an answer as REST would have written it."""
    if answer.error is not None:
        return Outcome(answer.error.code, frozenset(one.field for one in answer.error.errors), {})
    assert answer.message is not None
    message = type(answer.message).FromString(answer.message.SerializeToString())
    return Outcome("", frozenset(), _as_rest(messages.read(type(message), message.SerializeToString())))


#: The names of these enumerations are in upper case in REST.
_UPPER = {"status", "task_status", "resolution", "state"}


def _as_rest(value: Any, name: str = "") -> Any:
    if isinstance(value, dict) and name not in messages.JSON:
        return {key: _as_rest(one, key) for key, one in value.items()}
    if isinstance(value, list) and name not in messages.JSON:
        return [_as_rest(one, name) for one in value]
    return value.upper() if name in _UPPER else value


def _as_text(name: str, value: Any) -> Any:
    return json.dumps(value) if name in messages.JSON else value


def as_task(body: Mapping[str, Any]) -> dict[str, Any]:
    """Write the body of a submission as the message has it."""
    written = dict(body)
    if "payload" in written:
        written["payload"] = json.dumps(written["payload"])
    if "depends_on" in written:
        written["depends_on"] = [
            _with_enums({"id": one} if isinstance(one, str) else one, on_failure="ON_FAILURE")
            for one in written["depends_on"]
        ]
    if "unique" in written:
        written["unique"] = _with_enums(written["unique"], until="UNIQUE_UNTIL", on_conflict="UNIQUE_ON_CONFLICT")
    return written


def _with_enums(values: Mapping[str, Any], **prefixes: str) -> dict[str, Any]:
    def name(prefix: str, value: Any) -> Any:
        return [name(prefix, one) for one in value] if isinstance(value, list) else f"{prefix}_{str(value).upper()}"

    written = {key: name(prefixes[key], value) if key in prefixes else value for key, value in values.items()}
    if isinstance(written.get("status"), str):
        written["status"] = [written["status"]]
    return written


def _only(outcome: Outcome, name: str) -> Outcome:
    """Take the row out of an answer; what stands beside it in an answer of REST stays beside it."""
    return outcome if outcome.code else outcome._replace(body={**outcome.body.get(name, {}), **outcome.body})


DOORS: Mapping[str, Any] = {"rest": Rest(), "grpc": Grpc()}
