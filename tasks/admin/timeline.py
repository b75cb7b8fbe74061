"""The timeline of a task's page: the steps so far, each with the time since the one before, and the expected start."""

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.timezone import localtime

from tasks.admin.formatting import duration, escape_invisible, time_element, timestamp
from tasks.models import Task
from tasks.queries.forecast import Forecast, expected_start
from tasks.states import Obstacle


def timeline(task: Task, *, is_first_start: bool) -> list[dict[str, str]]:
    """List the task's steps in the order of their times."""
    moments = [
        ("Created", task.created_at),
        ("Due", task.run_at if task.run_at - task.created_at > timedelta(milliseconds=1) else None),
        ("Queued", task.queued_at),
        ("Started" if is_first_start else "Last started", task.started_at),
        ("Cancel requested", task.cancel_requested_at),
        (task.get_status_display(), task.finished_at),
    ]
    known = sorted(((name, at) for name, at in moments if at is not None), key=lambda step: step[1])
    now, before = timezone.now(), None
    steps = []
    for name, at in known:
        later = "" if before is None else f"+{between(before, at)}"
        is_same_day = before is not None and localtime(before).date() == localtime(at).date()
        when = time_element(at, timestamp(at, has_date=not is_same_day))
        steps.append({"name": name, "at": when, "after": later, "kind": "ahead" if at > now else "past"})
        before = at
    if not task.is_final and before is not None and before <= now:
        steps.append({"name": "Now", "at": "", "after": f"+{between(before, now)}", "kind": "now"})
    forecast = expected_start(task)
    if forecast is not None:
        steps.append(_forecast_step(forecast))
    return steps


def between(start: datetime, end: datetime) -> str:
    """Write the duration from one time to another."""
    return duration((end - start).total_seconds())


def _forecast_step(forecast: Forecast) -> dict[str, str]:
    if forecast.seconds is None:
        return {"name": "Cannot start yet", "at": "", "after": escape_invisible(forecast.obstacle), "kind": "ahead"}
    about = "at least" if forecast.is_at_least else "about"
    after = f"in {about} {duration(forecast.seconds)}" if forecast.seconds else "now"
    if why := [one.message for one in forecast.waiting_for if one.kind != Obstacle.NOT_DUE]:
        after = f"{after}: {'; '.join(why)}"
    return {"name": "Expected to start", "at": "", "after": after, "kind": "ahead"}
