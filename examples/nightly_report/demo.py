"""A report for each night, also for nights without a scheduler."""

from tasks.lifecycle import schedules
from tasks.models import Schedule, Task

NAME = "nightly-report"
WATCH = f"""\
manage.py callboard tasks show {{report}}               # the report of yesterday, in var/reports
manage.py callboard schedules preview {NAME} --limit 3
manage.py callboard schedules backfill {NAME} --start 2026-01-05T00:00:00Z --end 2026-01-11T23:59:59Z"""


def start() -> dict[str, Task]:
    """Run the schedule now; the leading scheduler has declared it."""
    return {"report": schedules.run(Schedule.objects.get(name=NAME).pk)}
