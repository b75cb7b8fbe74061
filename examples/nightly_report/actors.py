"""A report of each day, made on the morning after, also of days that were missed."""

import csv
import os
from datetime import datetime, time, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile

import dramatiq
from django.db.models import Count

from tasks import current
from tasks.conf import conf
from tasks.models import Task


@dramatiq.actor(
    schedule={
        "nightly-report": {
            "schedule": "0 6 * * * Europe/Berlin",
            # After up to a week without a scheduler, all missed reports are made, one after another.
            "catch_up": "all",
            "catch_up_window_seconds": 7 * 86_400,
            "overlap": "skip",
            "pause_after_failures": 3,
        }
    },
    max_retries=5,
)
def nightly_report() -> dict[str, object]:
    """Count the tasks of the day before the fire by actor and status, and write the counts to a file of that day."""
    # Not the clock: the run may be late, a retry, or the backfill of a day of last month.
    fire = current.scheduled_at()
    if fire is None:
        raise ValueError("expected a schedule to submit this; use `callboard schedules run nightly-report`")
    day = fire.date() - timedelta(days=1)
    start = datetime.combine(day, time(), fire.tzinfo)
    tasks = Task.objects.created_after(start).created_before(start + timedelta(days=1)).order_by()
    rows = list(tasks.values_list("actor", "status").annotate(n=Count("*")).order_by("actor", "status"))
    path = conf.VAR_DIR / "reports" / f"{day}.csv"
    _write(path, [("actor", "status", "tasks"), *rows])
    return {"day": str(day), "rows": len(rows), "file": path.name}


def _write(path: Path, rows: list[tuple[object, ...]]) -> None:
    """Write a file in one step: a second attempt replaces it, and nobody sees a half-written one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent, delete=False, newline="") as file:
        csv.writer(file).writerows(rows)
    os.replace(file.name, path)  # noqa: PTH105 - file.name is a str
