"""``python -m benchmarks.pages``: the time of every list, filter and page on a board of millions of tasks.

It starts a private PostgreSQL and Redis, writes the board (``board.sql``), and asks the API as staff and as an owner of
many tasks, and the admin as a superuser, all in this process: without HTTP, which costs the same for every page.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

import django
import psutil
import rich.box
from rich.console import Console
from rich.table import Table

from benchmarks import seeding
from benchmarks.stack import Stack

ROWS = 4_000_000
OWNERS = 20
#: The page of the API's lists that is asked for beside the newest, with 50 rows on each.
DEEP_PAGE = 1_000
LAST_PAGE_OF_ADMIN = 100
TASKS, DLQ = "/api/v1/tasks", "/api/v1/dlq"
TASK_PAGES, LETTER_PAGES = "/admin/callboard/task/", "/admin/dlq/deadletter/"


class Timing(NamedTuple):
    """How one address was answered; times in milliseconds.

    Parameters:
        milliseconds: the median.
        cpu: the mean of this process and its database session together; neighbours on the machine change it less.
        answer: the rows that were found.
    """

    who: str
    address: str
    milliseconds: float
    cpu: float
    answer: str


def main(arguments: Sequence[str]) -> None:
    """Write the board, ask for every page, and print the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="number of tasks on the board")
    parser.add_argument("--repeats", type=int, default=3, help="requests of each address")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    with Stack() as stack:
        os.environ.update(stack.environment)
        django.setup()
        first_owner = make_users()
        seeding.board(stack, options.rows, first_owner=first_owner)
        timings = list(measure(first_owner, options.repeats))
    if options.json:
        print(json.dumps({"rows": options.rows, "results": [one._asdict() for one in timings]}, indent=2))
    else:
        _print(timings, options.rows)


def make_users() -> int:
    """Make a superuser and the owners of tasks; return the first owner's id, who has the most."""
    from django.contrib.auth.models import User

    User.objects.create_superuser("root")
    owners = User.objects.bulk_create([User(username=f"owner {number}") for number in range(OWNERS)])
    return int(owners[0].pk)


def measure(first_owner: int, repeats: int) -> Iterator[Timing]:
    """Ask for every address as everybody who may."""
    from django.contrib.auth.models import User
    from django.test import Client

    from tasks.models import ApiToken

    def caller(user: User) -> Client:
        _, secret = ApiToken.issue(user=user, name="benchmark")
        return Client(headers={"authorization": f"Bearer {secret}"}, SERVER_NAME="localhost")

    root, owner = User.objects.get(username="root"), User.objects.get(pk=first_owner)
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(root)
    for who, client, addresses in (
        ("staff", caller(root), [*_lists(), *_single_rows(), *_other_answers()]),
        ("owner", caller(owner), _lists()),
        ("admin", browser, _admin_pages()),
    ):
        for address in addresses:
            yield _timed(who, client, address, repeats)
    for address, query in ((TASK_PAGES, {"status": "PENDING"}), (LETTER_PAGES, {"resolution": "OPEN"})):
        action = {"action": "cancel" if address == TASK_PAGES else "discard", "select_across": "1"}
        selected = {**action, "_selected_action": "00000000-0000-0000-0000-000000000000"}
        yield _timed("admin", browser, f"{address}?{urlencode(query)}", repeats, posted=selected)


def _timed(who: str, client: Any, address: str, repeats: int, *, posted: dict[str, str] | None = None) -> Timing:
    ask: Callable[[], Any] = (lambda: client.get(address)) if posted is None else lambda: client.post(address, posted)
    seconds = []
    ask()
    busy = _cpu_seconds()
    for _ in range(repeats):
        began = time.perf_counter()
        response = ask()
        seconds.append(time.perf_counter() - began)
    shown = address if posted is None else f"POST {address} (select all, {posted['action']})"
    cpu = (_cpu_seconds() - busy) / repeats
    timing = Timing(who, shown, round(statistics.median(seconds) * 1000, 1), round(cpu * 1000, 1), _answer(response))
    print(f"{who}: {shown}: {timing.milliseconds} ms, CPU {timing.cpu} ms, {timing.answer}", file=sys.stderr)
    return timing


def _cpu_seconds() -> float:
    """Add up the CPU time of this process and of its session, without the session's parallel workers."""
    from django.db import connection

    connection.ensure_connection()
    session = psutil.Process(connection.connection.info.backend_pid).cpu_times()
    return time.process_time() + session.user + session.system


def _answer(response: Any) -> str:
    if response.status_code != 200:
        return str(response.status_code)
    if not response.headers["Content-Type"].startswith("application/json"):
        return "page"
    body = response.json()
    if "results" not in body:
        return "row"
    part = "" if (body.get("searched") or {}).get("is_complete", True) else " of a part"
    return f"{len(body['results'])} rows{part}{', more' if body.get('next') else ''}"


def _lists() -> Iterator[str]:
    """Every list of the API with every filter, alone and together, on the newest page and on a page far behind."""
    cursor = _deep_cursor()
    for query in _task_queries():
        yield f"{TASKS}?{query}"
        yield f"{TASKS}?{query}&cursor={cursor}"
    for query in (
        "", "resolution=open", "resolution=redriven", "reason=crash_loop", "reason=age_limit_exceeded",
        "actor=actor_00", "actor=actor_rare", "actor=nobody", "queue=mail", "queue=rare", f"task={_a_task()}",
        "resolution=open&actor=actor_39&queue=video",
    ):  # fmt: skip
        yield f"{DLQ}?{query}"


def _task_queries() -> Iterator[str]:
    from tasks.states import Status

    now = datetime.now(UTC)
    yield ""
    yield from (f"status={status}" for status in Status)
    yield "status=DEAD&status=CANCELLED"
    for name, values in {
        "actor": ("actor_00", "actor_39", "actor_rare", "nobody"),
        "queue": ("default", "rare", "none"),
        "tag": ("nightly", "tenant:17", "rare", "none"),
        "band": ("high",),
        "priority": ("10",),
        "search": (str(_a_task())[:13], "actor_3", "actor_rare", "nightly", "rare", "none", _a_trace()),
        "created_after": (now - timedelta(minutes=5), now - timedelta(days=7)),
        "created_before": (now - timedelta(days=10), now - timedelta(days=100)),
        "run_after": (now + timedelta(hours=2), now + timedelta(days=9)),
        "run_before": (now - timedelta(days=10), now - timedelta(days=100)),
    }.items():
        for value in values:
            yield urlencode({name: value.isoformat() if isinstance(value, datetime) else value})
    window = {"created_after": now - timedelta(days=10), "created_before": now - timedelta(days=9, hours=23)}
    within = urlencode({name: value.isoformat() for name, value in window.items()})
    yield from (
        "actor=actor_rare&status=DEAD", "actor=actor_39&status=BLOCKED", "actor=actor_00&queue=rare",
        "actor=nobody&status=PENDING", f"queue=mail&tag=nightly&{within}", f"tag=none&{within}", within,
        "tag=tenant:17&status=SUCCEEDED", "tag=nightly&status=BLOCKED&priority=1",
        "band=low&status=RETRYING&queue=video", "status=DEAD&actor=nobody",
        "status=SUCCEEDED&run_after=2099-01-01T00:00:00Z",
    )  # fmt: skip


def _single_rows() -> Iterator[str]:
    from dlq.models import DeadLetter

    yield from (f"{TASKS}/{_a_task()}{part}" for part in ("", "/attempts", "/result", "/events"))
    yield f"{DLQ}/{DeadLetter.objects.newest_first()[10].pk}"


def _other_answers() -> Iterator[str]:
    yield from (f"/api/v1/{kind}" for kind in ("stats", "queues", "workers", "schedules", "operations", "batches"))
    for query in ("", "window=24h", "window=7d&actor=actor_00"):
        yield f"/api/v1/stats/series?{query}"
    yield from (f"/api/v1/failures{query}" for query in ("", "?actor=actor_39", f"/{_a_failure()}"))
    yield from (f"/api/v1/journal?{query}" for query in ("", "by=operator 7", "verb=redrive", "by=nobody"))


def _a_failure() -> str:
    """Return the fingerprint of the failure with the most dead letters."""
    from dlq.models import Failure

    return Failure.objects.order_by("-open").values_list("pk", flat=True)[0]


def _admin_pages() -> Iterator[str]:
    from django.urls import reverse

    from dlq.models import DeadLetter
    from tasks.models import Operation, Schedule

    yield "/admin/"
    for query in (
        "", f"p={LAST_PAGE_OF_ADMIN}", "status=SUCCEEDED", "status=BLOCKED", "status=DEAD", "status=PENDING",
        f"status=PENDING&p={LAST_PAGE_OF_ADMIN}", "actor=actor_00", "actor=actor_rare", "actor=nobody", "queue=rare",
        "queue=mail", "band=high", "created=15", "created=10080", "q=nightly", "q=rare", "q=none", "q=actor_3",
        f"q={_a_trace()}", f"q={str(_a_task())[:13]}", "status=DEAD&actor=actor_39&queue=video",
        "status=BLOCKED&queue=rare", "q=nightly&status=BLOCKED&band=low",
    ):  # fmt: skip
        yield f"{TASK_PAGES}?{query}"
    for query in (
        "", "resolution=all", "resolution=DISCARDED", "reason=crash_loop", "reason=age_limit_exceeded",
        "actor=actor_rare&resolution=all", "queue=mail", "q=host 17", "q=no such text&resolution=all",
    ):  # fmt: skip
        yield f"{LETTER_PAGES}?{query}"
    yield f"{TASK_PAGES}{_a_task()}/change/"
    yield f"{LETTER_PAGES}{DeadLetter.objects.newest_first()[10].pk}/change/"
    kinds = ("worker", "queue", "apitoken", "operation", "journal", "schedule", "batch")
    yield from (f"/admin/callboard/{kind}/" for kind in kinds)
    for query in ("q=nobody", "verb=redrive", "by=operator 7", f"q={_a_task()}"):
        yield f"/admin/callboard/journal/?{query}"
    yield from (f"/admin/?window={window}" for window in ("24h", "7d"))
    yield from (reverse("admin:callboard_actors"), reverse("admin:callboard_actor", args=["actor_00"]))
    yield "/admin/callboard/queue/default/change/"
    yield from (
        "/admin/dlq/failure/",
        "/admin/dlq/failure/?actor=actor_00",
        f"/admin/dlq/failure/{_a_failure()}/change/",
    )
    yield f"/admin/callboard/operation/{Operation.objects.newest_first()[0].pk}/change/"
    yield f"/admin/callboard/schedule/{Schedule.objects.order_by('pk')[0].pk}/change/"


def _deep_cursor() -> str:
    """Return the cursor of a page far behind."""
    from tasks.contract.pages import DEFAULT_LIMIT, Cursor
    from tasks.models import Task

    depth = DEEP_PAGE * DEFAULT_LIMIT
    ids = list(Task.objects.newest_first().values_list("pk", flat=True)[depth : depth + 1])
    return Cursor(False, ids[0].int if ids else 0).encode()


def _a_task() -> Any:
    """Return the id of a task that succeeded long ago."""
    from tasks.models import Task

    return Task.objects.final().order_by("pk").values_list("pk", flat=True)[1000]


def _a_trace() -> str:
    from tasks.models import Task

    return Task.objects.values_list("trace_id", flat=True).get(pk=_a_task())


def _print(timings: Sequence[Timing], rows: int) -> None:
    table = Table("who", "address", "ms", "CPU ms", "answer", box=rich.box.SIMPLE, title=f"{rows:,} tasks")
    for column in table.columns[2:4]:
        column.justify = "right"
    for one in timings:
        table.add_row(one.who, one.address, f"{one.milliseconds:,.1f}", f"{one.cpu:,.0f}", one.answer)
    Console(width=max(160, Console().width)).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
