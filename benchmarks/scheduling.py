"""The cron loop alone: ``python -m benchmarks.scheduling SCHEDULES SECONDS``; all schedules fire each second.

The answer is two lines: how much of each second the loop and the database work, in percent, and how late the last of a
second's tasks is there, in milliseconds.
"""

import os
import sys
import time
from datetime import timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from django.db.models import F, Max  # noqa: E402

from tasks.db import sessions  # noqa: E402
from tasks.lifecycle import schedules  # noqa: E402
from tasks.models import Schedule, Task  # noqa: E402
from tasks.scheduler.cron import Cron  # noqa: E402
from tasks.scheduler.leadership import Leadership  # noqa: E402


def main(count: int, seconds: int) -> None:
    """Fire all schedules each second, for so many seconds."""
    for number in range(count):
        definition = {"actor": "noop", "payload": {"number": number}, "cron": "* * * * * *", "overlap": "allow"}
        schedules.add(f"benchmark {number}", definition)
    sessions.use_direct_session()
    leadership = Leadership()
    leadership.step()
    loop = Cron(leadership)
    loop.step()
    # What fell due while they were added is not part of it.
    now = schedules.database_now()
    Task.objects.filter(scheduled_at__isnull=False).delete()
    first = now.replace(microsecond=0) + timedelta(seconds=2)
    Schedule.objects.update(fired_until=now, next_fire_at=first)
    began, worked = time.perf_counter(), 0.0
    while time.perf_counter() - began < seconds:
        leadership.step()
        at = time.perf_counter()
        rest = loop.step()
        worked += time.perf_counter() - at
        time.sleep(rest)
    made = Task.objects.filter(scheduled_at__gte=first).annotate(late=F("created_at") - F("scheduled_at"))
    late = made.aggregate(worst=Max("late"))["worst"]
    print(100 * worked / (time.perf_counter() - began), flush=True)
    print((late.total_seconds() if late else 0) * 1000, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
