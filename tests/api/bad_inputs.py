"""Every bad input there is a name for: bodies, fields, addresses and headers; ``CASES`` has them all."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.callers import TASKS

BULK = f"{TASKS}/bulk"
DEEP = 5_000


@dataclass(frozen=True)
class Bad:
    """One request that must be refused; in paths ``{task}`` is the caller's, ``{worker}`` is there, others are not."""

    method: str
    path: str
    status: int
    #: The field that the answer names, "" where there is none.
    named: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_from_staff: bool = False


def _deep(kind: str) -> bytes:
    opening, closing = ("[", "]") if kind == "array" else ('{"a":', "}")
    inside = "1" if kind == "object" else ""
    payload = opening * DEEP + inside + closing * DEEP
    return f'{{"actor": "act", "payload": {{"do": "return", "value": {payload}}}}}'.encode()


def many(count: int, *, twice: bool = False) -> bytes:
    """Write an object of very many fields: what looks at all others for each would take minutes."""
    names = [*range(count), *([count - 1] if twice else [])]
    return b"{" + b",".join(b'"%d":1' % name for name in names) + b"}"


def long_paths() -> bytes:
    """Write an array behind 30 long names: with a path for each of its elements it would take 300 times its size."""
    name = b'{"' + b"k" * 255 + b'":'
    return b'{"actor":"act","payload":' + name * 30 + b"[" + b"1," * 40_000 + b"1]" + b"}" * 31


#: name: (bytes of the body, status, field named).
RAW: dict[str, tuple[bytes, int, str]] = {
    "no body": (b"", 400, ""),
    "white space": (b" \n ", 400, ""),
    "broken JSON": (b'{"actor": "act"', 400, ""),
    "two values": (b'{"actor": "act"} {}', 400, ""),
    "single quotes": (b"{'actor': 'act'}", 400, ""),
    "an array": (b"[]", 400, ""),
    "a number": (b"1", 400, ""),
    "text": (b'"act"', 400, ""),
    "null": (b"null", 400, ""),
    "bad UTF-8": (b'{"actor": "\xff\xfe"}', 400, ""),
    "UTF-16": ('{"actor": "act"}'.encode("utf-16"), 400, ""),
    "a raw control character": (b'{"actor": "a\x01"}', 400, ""),
    "a raw NUL": (b'{"actor": "a\x00"}', 400, ""),
    "NaN": (b'{"actor": "act", "payload": {"value": NaN}}', 400, ""),
    "-Infinity": (b'{"actor": "act", "payload": {"value": -Infinity}}', 400, ""),
    "a duplicate field": (b'{"actor": "act", "actor": "add"}', 400, "actor"),
    "a duplicate field in the payload": (b'{"actor": "act", "payload": {"do": "x", "do": "y"}}', 400, "do"),
    "5,000 digits": (b'{"actor": "add", "payload": {"a": ' + b"9" * 5_000 + b"}}", 400, ""),
    "4,000 digits": (b'{"actor": "add", "payload": {"a": ' + b"9" * 4_000 + b"}}", 400, "payload.a"),
    "a priority of 4,000 digits": (b'{"actor": "act", "priority": ' + b"9" * 4_000 + b"}", 400, "priority"),
    "a float beyond floats": (b'{"actor": "add", "payload": {"a": 1e400}}', 400, "payload.a"),
    "a delay that is no number": (b'{"actor": "act", "delay_seconds": NaN}', 400, ""),
    "a delay beyond floats": (b'{"actor": "act", "delay_seconds": 1e400}', 400, "delay_seconds"),
    "a duplicate field among very many": (many(90_000, twice=True), 400, "89999"),
    "very many unknown fields": (many(90_000), 400, "0"),
    "5,000 arrays": (_deep("array"), 400, "payload"),
    "5,000 objects": (_deep("object"), 400, "payload"),
    "5,000 arrays never closed": (b'{"actor": "act", "payload": ' + b"[" * DEEP, 400, "payload"),
    "900 arrays as priority": (b'{"actor": "act", "priority": ' + b"[" * 900 + b"]" * 900 + b"}", 400, "priority"),
    "a string that never ends": (b'{"actor": "' + b'\\"' * 100_000, 400, ""),
    "5 MB": (b'{"actor": "act", "payload": {"value": "' + b"x" * 5_000_000 + b'"}}', 413, ""),
    "a NUL in the payload": (b'{"actor": "act", "payload": {"do": "a\\u0000"}}', 400, "payload.do"),
    "a lone surrogate in the payload": (b'{"actor": "act", "payload": {"do": "\\ud800"}}', 400, "payload.do"),
    "a NUL in a key": (b'{"actor": "act", "payload": {"a\\u0000": 1}}', 400, "payload"),
    "a lone surrogate in a key": (b'{"actor": "act", "payload": {"\\udfff": 1}}', 400, "payload"),
    "a NUL in the actor": (b'{"actor": "act\\u0000"}', 400, "actor"),
    "a lone surrogate in the actor": (b'{"actor": "\\ud800"}', 400, "actor"),
    "a NUL in the queue": (b'{"actor": "act", "queue": "\\u0000"}', 400, "queue"),
    "a lone surrogate in the queue": (b'{"actor": "act", "queue": "\\udc00"}', 400, "queue"),
    "a NUL in a tag": (b'{"actor": "act", "tags": ["ok", "\\u0000"]}', 400, "tags"),
    "a lone surrogate in a tag": (b'{"actor": "act", "tags": ["\\ud83d"]}', 400, "tags"),
    "a NUL in a field's name": (b'{"actor": "act", "a\\u0000": 1}', 400, "a\\x00"),
    "a lone surrogate in a field's name": (b'{"actor": "act", "\\ud800": 1}', 400, "\\ud800"),
    "a NUL in run_at": (b'{"actor": "act", "run_at": "2099-01-01T00:00:00Z\\u0000"}', 400, "run_at"),
}

#: name: (fields beside a good actor and payload, field named).
FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "no actor": ({"actor": None}, "actor"),
    "an empty actor": ({"actor": ""}, "actor"),
    "a number as actor": ({"actor": 1}, "actor"),
    "an unknown actor": ({"actor": "no_such"}, "actor"),
    "an actor closed to the API": ({"actor": "private"}, "actor"),
    "a long actor": ({"actor": "a" * 256}, "actor"),
    "an unknown field": ({"nope": 1}, "nope"),
    "the id": ({"id": str(uuid4())}, "id"),
    "the status": ({"status": "SUCCEEDED"}, "status"),
    "the owner": ({"owner": 1}, "owner"),
    "positional arguments": ({"args": [1]}, "args"),
    "an array as payload": ({"payload": []}, "payload"),
    "text as payload": ({"payload": "{}"}, "payload"),
    "a priority in quotes": ({"priority": "5"}, "priority"),
    "a zone of 25 hours": ({"run_at": "2030-01-01T00:00:00+25:00"}, "run_at"),
    "a zone by name": ({"run_at": "2030-01-01T00:00:00 Europe/Berlin"}, "run_at"),
    "24 o'clock and a leap second": ({"run_at": "2030-01-01T24:00:60Z"}, "run_at"),
    "full-width digits as run_at": ({"run_at": "\uff12\uff10\uff13\uff10-01-01T00:00:00Z"}, "run_at"),
    "an object as run_at": ({"run_at": {}}, "run_at"),
    "an object as tags": ({"tags": {"a": 1}}, "tags"),
    "null as tag": ({"tags": [None]}, "tags"),
    "an array as tag": ({"tags": [["a"]]}, "tags"),
    "an object as queue": ({"queue": {"name": "default"}}, "queue"),
    "an array as actor": ({"actor": ["act"]}, "actor"),
    "true as payload": ({"payload": True}, "payload"),
    "true as retries": ({"max_retries": True}, "max_retries"),
    "null as payload": ({"payload": None}, "payload"),
    "a wrong argument": ({"actor": "add", "payload": {"a": "1"}}, "payload.a"),
    "a missing argument": ({"actor": "add", "payload": {}}, "payload.a"),
    "an unknown argument": ({"actor": "add", "payload": {"a": 1, "c": 2}}, "payload.c"),
    "a large payload": ({"payload": {"do": "x" * 300_000}}, "payload"),
    "33 levels": ({"payload": {"do": "return", "value": json.loads("[" * 32 + "]" * 32)}}, "payload"),
    "a long key": ({"payload": {"k" * 256: 1}}, "payload"),
    "priority 0": ({"priority": 0}, "priority"),
    "priority 11": ({"priority": 11}, "priority"),
    "half a priority": ({"priority": 5.5}, "priority"),
    "11.0 as priority": ({"priority": 11.0}, "priority"),
    "true as priority": ({"priority": True}, "priority"),
    "a wrong word as priority": ({"priority": "urgent"}, "priority"),
    "an object as priority": ({"priority": {}}, "priority"),
    "an unknown queue": ({"queue": "no_such"}, "queue"),
    "an empty queue": ({"queue": ""}, "queue"),
    "run_at without zone": ({"run_at": "2099-01-01T00:00:00"}, "run_at"),
    "a date as run_at": ({"run_at": "2099-01-01"}, "run_at"),
    "a number as run_at": ({"run_at": 4_000_000_000}, "run_at"),
    "tomorrow": ({"run_at": "tomorrow"}, "run_at"),
    "a letter between date and time": ({"run_at": "2099-01-01x00:00:00Z"}, "run_at"),
    "a line break between date and time": ({"run_at": "2099-01-01\n00:00:00Z"}, "run_at"),
    "the year 9999": ({"run_at": "9999-12-31T23:59:59-14:00"}, "run_at"),
    "the 31st of February": ({"run_at": "2099-02-31T00:00:00Z"}, "run_at"),
    "run_at and delay_seconds": ({"run_at": "2099-01-01T00:00:00Z", "delay_seconds": 1}, "run_at"),
    "a negative delay": ({"delay_seconds": -1}, "delay_seconds"),
    "an endless delay": ({"delay_seconds": 1e18}, "delay_seconds"),
    "text as delay": ({"delay_seconds": "10"}, "delay_seconds"),
    "true as delay": ({"delay_seconds": True}, "delay_seconds"),
    "negative retries": ({"max_retries": -1}, "max_retries"),
    "half a retry": ({"max_retries": 1.5}, "max_retries"),
    "retries beyond integers": ({"max_retries": 2**31}, "max_retries"),
    "a negative backoff": ({"min_backoff_seconds": -1}, "min_backoff_seconds"),
    "an endless backoff": ({"max_backoff_seconds": 10**12}, "max_backoff_seconds"),
    "backoff upside down": ({"min_backoff_seconds": 9, "max_backoff_seconds": 8}, "max_backoff_seconds"),
    "a negative retry window": ({"retry_for_seconds": -0.5}, "retry_for_seconds"),
    "a negative time limit": ({"time_limit_seconds": -1}, "time_limit_seconds"),
    "text as time limit": ({"time_limit_seconds": "never"}, "time_limit_seconds"),
    "an age of nothing": ({"max_age_seconds": 0}, "max_age_seconds"),
    "an array as estimate": ({"estimated_seconds": [1]}, "estimated_seconds"),
    "text as tags": ({"tags": "a,b"}, "tags"),
    "a number as tag": ({"tags": ["a", 1]}, "tags"),
    "an empty tag": ({"tags": [""]}, "tags"),
    "a long tag": ({"tags": ["t" * 101]}, "tags"),
    "51 tags": ({"tags": ["t"] * 51}, "tags"),
    "an unknown parent": ({"depends_on": [str(uuid4())]}, "depends_on"),
    "an empty ref": ({"ref": ""}, "ref"),
    "a number as idempotency key": ({"idempotency_key": 1}, "idempotency_key"),
    "an empty idempotency key": ({"idempotency_key": ""}, "idempotency_key"),
    "a long idempotency key": ({"idempotency_key": "k" * 256}, "idempotency_key"),
    "a NUL in the idempotency key": ({"idempotency_key": "\0"}, "idempotency_key"),
    "text as unique": ({"unique": "k"}, "unique"),
    "an array as unique": ({"unique": [{"key": "k"}]}, "unique"),
    "unique without a key": ({"unique": {"until": "started"}}, "unique"),
    "an empty unique key": ({"unique": {"key": ""}}, "unique"),
    "a number as unique key": ({"unique": {"key": 1}}, "unique"),
    "a long unique key": ({"unique": {"key": "k" * 256}}, "unique"),
    "a unique key of 10 kB": ({"unique": {"key": "k" * 10_000}}, "unique"),
    "a NUL in the unique key": ({"unique": {"key": "\0"}}, "unique"),
    "unique until never": ({"unique": {"key": "k", "until": "never"}}, "unique"),
    "an array as until": ({"unique": {"key": "k", "until": ["started"]}}, "unique"),
    "unique for no time": ({"unique": {"key": "k", "ttl_seconds": 0}}, "unique"),
    "unique for a negative time": ({"unique": {"key": "k", "ttl_seconds": -1}}, "unique"),
    "another conflict": ({"unique": {"key": "k", "on_conflict": "ignore"}}, "unique"),
    "a wait without replacement": ({"unique": {"key": "k", "max_wait_seconds": 5}}, "unique"),
    "another field of unique": ({"unique": {"key": "k", "period": 5}}, "unique"),
    "concurrency_key": ({"concurrency_key": "k"}, "concurrency_key"),
    "an empty fairness key": ({"fairness_key": ""}, "fairness_key"),
    "a number as fairness key": ({"fairness_key": 17}, "fairness_key"),
    "an array as fairness key": ({"fairness_key": ["k"]}, "fairness_key"),
    "a long fairness key": ({"fairness_key": "k" * 101}, "fairness_key"),
    "a NUL in the fairness key": ({"fairness_key": "\0"}, "fairness_key"),
    "a batch that is no id": ({"batch": "nightly"}, "batch"),
    "a batch as a list": ({"batch": [str(uuid4())]}, "batch"),
}

#: name: (body of a bulk, field named).
BULKS: dict[str, tuple[Any, str]] = {
    "no tasks": ({}, "tasks"),
    "no task": ({"tasks": []}, "tasks"),
    "null": ({"tasks": None}, "tasks"),
    "an object": ({"tasks": {"actor": "act"}}, "tasks"),
    "1,001 tasks": ({"tasks": [{"actor": "act", "payload": {"do": "return"}}] * 1001}, "tasks"),
    "another field": ({"tasks": [{"actor": "act", "payload": {"do": "return"}}], "atomic": False}, "atomic"),
    "null as task": ({"tasks": [None]}, "tasks.0"),
    "an array as task": ({"tasks": [[]]}, "tasks.0"),
    "one unknown actor": ({"tasks": [{"actor": "act", "payload": {"do": "return"}}, {"actor": "x"}]}, "tasks.1.actor"),
    "a number as key": (
        {"tasks": [{"actor": "act", "payload": {"do": "return"}}], "idempotency_key": 1},
        "idempotency_key",
    ),
    "a key for one of them": (
        {"tasks": [{"actor": "act", "payload": {"do": "return"}, "idempotency_key": "k"}]},
        "tasks.0.idempotency_key",
    ),
    "a number as ref": ({"tasks": [{"actor": "act", "payload": {"do": "return"}, "ref": 1}]}, "tasks.0.ref"),
}

#: name: (method, path, status, field named).
ADDRESSES: dict[str, tuple[str, str, int, str]] = {
    "no UUID": ("get", f"{TASKS}/1", 404, ""),
    "nearly a UUID": ("get", f"{TASKS}/{uuid4()}0", 404, ""),
    "a NUL as id": ("get", f"{TASKS}/%00", 404, ""),
    "a lone surrogate as id": ("get", f"{TASKS}/%ED%A0%80", 404, ""),
    "bad UTF-8 as id": ("get", f"{TASKS}/%ff", 404, ""),
    "a line break as id": ("get", f"{TASKS}/%0d%0aSet-Cookie:x=1", 404, ""),
    "SQL as id": ("post", f"{TASKS}/1'%20OR%201=1--/cancel", 404, ""),
    "an id to retry": ("post", f"{TASKS}/zzz/retry", 404, ""),
    "an id of attempts": ("get", f"{TASKS}/%00/attempts", 404, ""),
    "an id of a dead letter": ("get", "/api/v1/dlq/%00", 404, ""),
    "an id to re-drive": ("post", "/api/v1/dlq/x/redrive", 404, ""),
    "an unknown task": ("get", f"{TASKS}/{uuid4()}", 404, ""),
    "an unknown task to cancel": ("post", f"{TASKS}/{uuid4()}/cancel", 404, ""),
    "an unknown dead letter": ("get", f"/api/v1/dlq/{uuid4()}", 404, ""),
    "an unknown address": ("get", "/api/v1/nope", 404, ""),
    "an address outside": ("get", "/nope%00%0a", 404, ""),
    "a method that is not taken": ("delete", TASKS, 405, ""),
    "GET of a verb": ("get", f"{TASKS}/{uuid4()}/cancel", 405, ""),
    "limit 0": ("get", f"{TASKS}?limit=0", 400, "limit"),
    "limit 501": ("get", f"{TASKS}?limit=501", 400, "limit"),
    "limit -1": ("get", f"{TASKS}?limit=-1", 400, "limit"),
    "a word as limit": ("get", f"{TASKS}?limit=all", 400, "limit"),
    "Arabic digits as limit": ("get", f"{TASKS}?limit=%D9%A3", 400, "limit"),
    "an endless limit": ("get", f"{TASKS}?limit={'9' * 5000}", 400, "limit"),
    "two limits": ("get", f"{TASKS}?limit=1&limit=2", 400, "limit"),
    "a made-up cursor": ("get", f"{TASKS}?cursor=abc", 400, "cursor"),
    "a cursor of another kind": ("get", f"{TASKS}?cursor={'_' * 23}", 400, "cursor"),
    "a NUL as cursor": ("get", f"{TASKS}?cursor=%00", 400, "cursor"),
    "a surrogate as cursor": ("get", "/api/v1/dlq?cursor=%ED%A0%80", 400, "cursor"),
    "a filter of actors": ("get", "/api/v1/actors?queue=default", 400, "queue"),
    "a filter without a name": ("get", f"{TASKS}?=1", 400, ""),
    "percent signs": ("get", f"{TASKS}?%&%zz=%", 400, "%"),
    "a filter of 10 kB": ("get", f"{TASKS}?actor={'a' * 10_000}", 400, "actor"),
    "1,001 parameters": ("get", f"{TASKS}?{'&'.join(f'p{n}=' for n in range(1_001))}", 400, ""),
    "a format": ("get", f"{TASKS}?format=api", 400, "format"),
    "an offset": ("get", f"{TASKS}?offset=10", 400, "offset"),
    "another's id as owner": ("get", f"{TASKS}?owner_id=1", 400, "owner_id"),
    "a method nobody knows": ("trace", TASKS, 405, ""),
    "a PUT of a probe": ("put", "/healthz", 405, ""),
    "a POST of the description": ("post", "/api/schema", 405, ""),
    "an unknown filter": ("get", f"{TASKS}?staus=DEAD", 400, "staus"),
    "a filter with NUL in its name": ("get", f"{TASKS}?a%00=1", 400, "a\\x00"),
    "an unknown status": ("get", f"{TASKS}?status=DONE", 400, "status"),
    "one unknown status of two": ("get", f"{TASKS}?status=DEAD&status=%00", 400, "status"),
    "a NUL as actor": ("get", f"{TASKS}?actor=%00", 400, "actor"),
    "a surrogate as actor": ("get", f"{TASKS}?actor=%ED%A0%80", 400, "actor"),
    "bad UTF-8 as queue": ("get", f"{TASKS}?queue=%ff", 400, "queue"),
    "no queue": ("get", f"{TASKS}?queue=", 400, "queue"),
    "a NUL as tag": ("get", f"{TASKS}?tag=%00", 400, "tag"),
    "a NUL in a search": ("get", f"{TASKS}?search=a%00", 400, "search"),
    "a long search": ("get", f"{TASKS}?search={'a' * 300}", 400, "search"),
    "a reason to wait that no list knows": ("get", f"{TASKS}?waiting_for=tasks_ahead", 400, "waiting_for"),
    "an unknown band": ("get", f"{TASKS}?band=urgent", 400, "band"),
    "priority 11": ("get", f"{TASKS}?priority=11", 400, "priority"),
    "a time without zone": ("get", f"{TASKS}?created_after=2026-01-01T00:00:00", 400, "created_after"),
    "no time": ("get", f"{TASKS}?run_before=soon", 400, "run_before"),
    "two actors": ("get", f"{TASKS}?actor=a&actor=b", 400, "actor"),
    "an unknown reason": ("get", "/api/v1/dlq?reason=bored", 400, "reason"),
    "an unknown resolution": ("get", "/api/v1/dlq?resolution=%00", 400, "resolution"),
    "no UUID as task": ("get", "/api/v1/dlq?task=1", 400, "task"),
    "a filter of attempts": ("get", f"{TASKS}/{{task}}/attempts?outcome=FAILED", 400, "outcome"),
    "an unknown task to delete": ("delete", f"{TASKS}/{uuid4()}", 404, ""),
    "an id to delete": ("delete", f"{TASKS}/%00", 404, ""),
    "an id to change": ("patch", f"{TASKS}/zzz", 404, ""),
    "an id to discard": ("post", "/api/v1/dlq/x/discard", 404, ""),
    "a filter of events": ("get", f"{TASKS}/{{task}}/events?verb=cancel", 400, "verb"),
    "a made-up cursor of events": ("get", f"{TASKS}/{{task}}/events?cursor=abc", 400, "cursor"),
    "fields for a delete": ("delete", f"{TASKS}/{{task}}", 400, "comment"),
    "fields for a discard": ("post", f"/api/v1/dlq/{uuid4()}/discard", 404, ""),
    "an unknown field of an edit": ("patch", f"{TASKS}/{{task}}", 400, "comment"),
    "an unknown field of a replacement": ("put", f"{TASKS}/{{task}}", 400, "comment"),
    "a PUT of all tasks": ("put", TASKS, 405, ""),
    "a GET of a bulk": ("get", f"{TASKS}/bulk", 405, ""),
    "fields for a cancel": ("post", f"{TASKS}/{{task}}/cancel", 400, "comment"),
    "fields for a retry": ("post", f"{TASKS}/{{task}}/retry", 400, "comment"),
}

#: name: (method, path, status, field named) of what is for staff.
STAFF_ADDRESSES: dict[str, tuple[str, str, int, str]] = {
    "no UUID as worker": ("get", "/api/v1/workers/1", 404, ""),
    "a NUL as worker": ("delete", "/api/v1/workers/%00", 404, ""),
    "an unknown worker": ("get", f"/api/v1/workers/{uuid4()}", 404, ""),
    "an unknown worker to drain": ("delete", f"/api/v1/workers/{uuid4()}", 404, ""),
    "fields for a drain": ("delete", "/api/v1/workers/{worker}", 400, "comment"),
    "an unknown status of workers": ("get", "/api/v1/workers?status=BUSY", 400, "status"),
    "an unknown filter of workers": ("get", "/api/v1/workers?host=a", 400, "host"),
    "NULs as long as a fingerprint": ("get", f"/api/v1/failures/{'%00' * 32}", 404, ""),
    "a cursor of failures": ("get", "/api/v1/failures?cursor=x", 400, "cursor"),
    "an unknown queue": ("get", "/api/v1/queues/nowhere", 404, ""),
    "a NUL as queue": ("get", "/api/v1/queues/%00", 404, ""),
    "a surrogate as queue": ("post", "/api/v1/queues/%ED%A0%80/pause", 404, ""),
    "an unknown queue to resume": ("post", "/api/v1/queues/nowhere/resume", 404, ""),
    "a long queue": ("patch", f"/api/v1/queues/{'q' * 3000}", 404, ""),
    "fields for a pause": ("post", "/api/v1/queues/default/pause", 400, "comment"),
    "fields for a resume": ("post", "/api/v1/queues/default/resume", 400, "comment"),
    "an unknown field of a queue": ("patch", "/api/v1/queues/default", 400, "comment"),
    "a queue to replace": ("put", "/api/v1/queues/default", 405, ""),
    "0 minutes": ("get", "/api/v1/stats?minutes=0", 400, "minutes"),
    "Arabic minutes": ("get", "/api/v1/stats?minutes=%D9%A3", 400, "minutes"),
    "endless minutes": ("get", f"/api/v1/stats?minutes={'9' * 5000}", 400, "minutes"),
    "an unknown parameter of stats": ("get", "/api/v1/stats?hours=1", 400, "hours"),
    "minutes twice": ("get", "/api/v1/stats?minutes=5&minutes=6", 400, "minutes"),
    "an unknown window": ("get", "/api/v1/stats/series?window=2h", 400, "window"),
    "a window twice": ("get", "/api/v1/stats/series?window=1h&window=7d", 400, "window"),
    "a series of a NUL": ("get", "/api/v1/stats/series?actor=%00", 400, "actor"),
    "an unknown parameter of series": ("get", "/api/v1/stats/series?minutes=5", 400, "minutes"),
    "no minutes": ("get", "/api/v1/stats?minutes=", 400, "minutes"),
    "a filter of queues": ("get", "/api/v1/queues?name=default", 400, "name"),
}

#: name: (fields of a PATCH and of a PUT, field named).
EDITS: dict[str, tuple[dict[str, Any], str]] = {
    "no payload object": ({"payload": []}, "payload"),
    "a payload that does not fit": ({"payload": {"do": 1}}, "payload.do"),
    "null as payload": ({"payload": None}, "payload"),
    "null as priority": ({"priority": None}, "priority"),
    "priority 0": ({"payload": {"do": "return"}, "priority": 0}, "priority"),
    "a queue nobody declares": ({"payload": {"do": "return"}, "queue": "nowhere"}, "queue"),
    "a NUL as queue": ({"queue": "\0"}, "queue"),
    "no zone": ({"run_at": "2099-01-01T00:00:00"}, "run_at"),
    "-1 retries": ({"max_retries": -1}, "max_retries"),
    "text as tags": ({"tags": "a"}, "tags"),
    "the status": ({"status": "SUCCEEDED"}, "status"),
    "the actor": ({"actor": "add"}, "actor"),
    "the version": ({"version": 2}, "version"),
    "a delay": ({"delay_seconds": 5}, "delay_seconds"),
}

#: A good body of a PUT.
_WHOLE: dict[str, Any] = {
    "payload": {"do": "return"},
    "priority": 5,
    "queue": "default",
    "run_at": "2099-01-01T00:00:00Z",
    "max_retries": 3,
    "tags": [],
}

#: name: body of a PATCH of a task.
EDIT_BODIES: dict[str, bytes] = {
    "no body": b"",
    "an array": b"[]",
    "null": b"null",
    "NaN": b'{"priority": NaN}',
    "a duplicate field": b'{"priority": 1, "priority": 2}',
    "nothing to change": b"{}",
}

#: name: (body of a PATCH of a queue, field named).
QUEUE_CHANGES: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "paused"),
    "null": ({"paused": None}, "paused"),
    "1": ({"paused": 1}, "paused"),
    "yes": ({"paused": "yes"}, "paused"),
    "another field": ({"paused": True, "rate": 1}, "rate"),
    "an array": ([], ""),
}

#: name: (header, value, status, field named).
HEADERS: dict[str, tuple[str, str, int, str]] = {
    "a form": ("Content-Type", "application/x-www-form-urlencoded", 415, ""),
    "files": ("Content-Type", "multipart/form-data; boundary=x", 415, ""),
    "text": ("Content-Type", "text/plain", 415, ""),
    "no type": ("Content-Type", "", 415, ""),
    "a type that is none": ("Content-Type", "application/json/x\x00", 415, ""),
    "another charset": ("Content-Type", "application/json; charset=utf-16", 415, ""),
    "a compressed body": ("Content-Encoding", "gzip", 415, ""),
    "two encodings": ("Content-Encoding", "identity, br", 415, ""),
    "an idempotency key beyond ASCII": ("Idempotency-Key", "\xe9", 400, "Idempotency-Key"),
    "an empty idempotency key": ("Idempotency-Key", "", 400, "Idempotency-Key"),
    "an idempotency key of quotes": ("Idempotency-Key", '""', 400, "Idempotency-Key"),
    "a long idempotency key": ("Idempotency-Key", "k" * 256, 400, "Idempotency-Key"),
    "a control character in an idempotency key": ("Idempotency-Key", "a\x01b", 400, "Idempotency-Key"),
    "a tab in an idempotency key": ("Idempotency-Key", "a\tb", 400, "Idempotency-Key"),
    "a NUL as idempotency key": ("Idempotency-Key", "\x00", 400, "Idempotency-Key"),
    "no scheme": ("Authorization", "secret", 401, ""),
    "an empty token": ("Authorization", "Bearer ", 401, ""),
    "two tokens": ("Authorization", "Bearer a b", 401, ""),
    "basic authentication": ("Authorization", "Basic YWxpY2U6eA==", 401, ""),
    "an unknown token": ("Authorization", "Bearer cb_nope", 401, ""),
    "a token of NULs": ("Authorization", "Bearer \x00\x00", 401, ""),
    "a token beyond ASCII": ("Authorization", "Bearer \xff\xfe", 401, ""),
    "an endless token": ("Authorization", "Bearer " + "a" * 10_000, 401, ""),
    "a foreign host": ("Host", "evil.example", 400, "Host"),
    "a host that is none": ("Host", "a b\x00", 400, "Host"),
}

#: Fields that no verb, edit or removal takes.
_SURPLUS = b'{"comment": "x"}'
_GOOD = {"actor": "act", "payload": {"do": "return"}}


def _cases() -> Iterator[tuple[str, Bad]]:
    for name, (raw, status, named) in RAW.items():
        yield f"body: {name}", Bad("POST", TASKS, status, named, raw)
        if raw.strip():
            yield f"bulk of: {name}", Bad("POST", BULK, status, "", b'{"tasks": [' + raw + b"]}")
    for name, (fields, named) in FIELDS.items():
        yield f"field: {name}", Bad("POST", TASKS, 400, named, json.dumps(_GOOD | fields).encode())
    for name, (body, named) in BULKS.items():
        yield f"bulk: {name}", Bad("POST", BULK, 400, named, json.dumps(body).encode())
    for method in ("PUT", "PATCH"):
        for name, (fields, named) in EDITS.items():
            body = _WHOLE | fields if method == "PUT" else fields
            yield f"{method}: {name}", Bad(method, f"{TASKS}/{{task}}", 400, named, json.dumps(body).encode())
    for name in _WHOLE:
        rest = {one: value for one, value in _WHOLE.items() if one != name}
        yield f"PUT without {name}", Bad("PUT", f"{TASKS}/{{task}}", 400, name, json.dumps(rest).encode())
    for name, raw in EDIT_BODIES.items():
        yield f"edit: {name}", Bad("PATCH", f"{TASKS}/{{task}}", 400, "", raw)
    for name, (body, named) in QUEUE_CHANGES.items():
        yield f"queue: {name}", Bad("PATCH", "/api/v1/queues/default", 400, named, json.dumps(body).encode(), {}, True)
    for who, addresses in (("address", ADDRESSES), ("staff", STAFF_ADDRESSES)):
        for name, (method, path, status, named) in addresses.items():
            body = b"" if method in ("get", "trace") else _SURPLUS
            yield f"{who}: {name}", Bad(method.upper(), path, status, named, body, {}, who == "staff")
    for name, (header, value, status, named) in HEADERS.items():
        yield f"header: {name}", Bad("POST", TASKS, status, named, b'{"actor": "limited"}', {header: value})


CASES = dict(_cases())
