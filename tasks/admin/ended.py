"""What ended: the four numbers with their last hour, and the chart of ends with marks of what people did."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from tasks.admin import charts
from tasks.admin.charts import Bar, Mark
from tasks.admin.filters import ended_between
from tasks.admin.formatting import EMPTY, count_text, duration, escape_invisible, local, shortened
from tasks.admin.operator_log import object_of, who
from tasks.models import Journal
from tasks.queries import stats
from tasks.queries.stats import Point, Series, Tally, Window
from tasks.states import TaskOutcome

#: "Now" in the numbers means the current minute and so many before it.
RECENT_MINUTES = 5
#: The newest acts that the chart marks.
MOST_MARKS = 12
#: A share of failures is shown in red if it is so many times the share of before, and at least so large.
TIMES_BEFORE, SMALLEST_SHARE = 2, 0.02

_PER = {Window.HOUR: "minute", Window.DAY: "half hour", Window.WEEK: "3 hours"}
#: Drawn from the bottom up.
_PARTS = (
    ("succeeded", TaskOutcome.SUCCEEDED, "succeeded"),
    ("retrying", TaskOutcome.RETRYING, "failed and retried"),
    ("dead", TaskOutcome.DEAD, "died"),
)


def numbers(hour: Series, now: datetime) -> list[dict[str, Any]]:
    """Write three of the four numbers; ``undecided`` writes the fourth, which needs dead letters."""
    recent, before = hour.total(last=RECENT_MINUTES + 1), stats.baseline()
    seconds = max(1.0, (now - hour[-RECENT_MINUTES - 1].start).total_seconds())
    failing, failed = recent.failure_share, before.failure_share
    is_worse = failing is not None and failing >= SMALLEST_SHARE and failing > TIMES_BEFORE * (failed or 0.0)
    wait = recent.wait(0.95)
    return [
        {
            "label": "Throughput",
            "value": _rate(recent.ended / seconds),
            "was": _rate(before.ended / Window.HOUR.seconds) if before.ended else "",
            "line": charts.line([point.ended for point in hour], label="Ended per minute, last hour"),
        },
        {
            "label": "Failing now",
            "value": _share(failing),
            "was": _share(failed) if failed is not None else "",
            "is_bad": is_worse,
            "line": _line(
                hour, lambda one: one.failure_share, "Part that failed, last hour", "bad" if is_worse else ""
            ),
        },
        {
            "label": "Wait before start, p95",
            "value": EMPTY if wait is None else duration(wait),
            "was": "" if (waited := before.wait(0.95)) is None else duration(waited),
            "line": _line(hour, lambda one: one.wait(0.95), "Wait before start, 95th percentile, last hour"),
        },
    ]


def undecided(letters: str, url: str, hour: Series) -> dict[str, Any]:
    """Write the number of open dead letters."""
    died = hour.total(last=RECENT_MINUTES + 1).of(TaskOutcome.DEAD)
    return {
        "label": "Dead and undecided",
        "value": letters,
        "url": url,
        "more": f"+{died:,} in {RECENT_MINUTES} min" if died else "",
        "is_bad": bool(died),
        "line": _line(hour, lambda one: one.of(TaskOutcome.DEAD), "Deaths, last hour", "bad" if died else ""),
    }


def _line(hour: Series, value: Callable[[Point], float | None], label: str, kind: str = "") -> str:
    return charts.line([value(point) for point in hour], label=label, kind=kind)


def _rate(per_second: float) -> str:
    if per_second >= 1:
        return f"{per_second:,.1f} /s"
    return f"{per_second * 60:.1f} /min" if per_second else "0 /s"


def _share(share: float | None) -> str:
    if share is None:
        return EMPTY
    return f"{share:.0%}" if share >= 0.1 or not share else f"{share:.1%}"


def choices(chosen: Window) -> list[dict[str, Any]]:
    """List the windows for links to them."""
    return [{"name": one.label, "is_chosen": one is chosen} for one in Window]


def chart(
    window: Window, points: Series, *, links: bool, acts: bool, queue: str = "", actor: str = ""
) -> dict[str, Any]:
    """Draw what ended in each step of a window.

    Parameters:
        links: whether bars link to their tasks.
        acts: whether what people did is marked.
        queue, actor: what the bars' tasks are narrowed to.
    """
    highest = charts.scale_of(max((point.ended for point in points), default=0))
    marks = _marks(window, points) if acts else []
    extra = {name: value for name, value in (("queue", queue), ("actor", actor)) if value}
    return {
        "window": window.label,
        "windows": choices(window),
        "per": _PER[window],
        "svg": charts.bars(
            [_bar(point, window.step, links=links, extra=extra) for point in points],
            highest=highest,
            marks=[mark for mark, _ in marks],
            label=f"Ended per {_PER[window]}, last {window.label}",
        ),
        "highest": count_text(highest),
        "half": count_text(highest // 2),
        "ticks": list(_ticks(points, window)),
        "marks": [text for _, text in marks],
        "is_empty": not any(point.ended for point in points),
    }


def _bar(point: Point, step: int, *, links: bool, extra: dict[str, str]) -> Bar:
    counted = [(kind, word, point.of(outcome)) for kind, outcome, word in _PARTS]
    said = ", ".join(f"{count:,} {word}" for _, word, count in counted if count) or "nothing ended"
    query = urlencode({"ended": ended_between(point.start, step), **extra})
    url = f"{reverse('admin:callboard_task_changelist')}?{query}" if links else ""
    return Bar([(kind, count) for kind, _, count in counted], f"{local(point.start, '%a %H:%M %Z')}: {said}", url)


def _ticks(points: Sequence[Point], window: Window) -> Iterable[str]:
    """Write the time at each quarter of the chart."""
    form = "%H:%M" if window is not Window.WEEK else "%a %d"
    yield from (local(points[len(points) * nth // 4].start, form) for nth in range(4))
    yield "now"


def _marks(window: Window, points: Series) -> list[tuple[Mark, str]]:
    """Mark the newest acts, oldest first, each with the line that explains it below the chart."""
    since = points[0].start
    whole = timedelta(seconds=window.step) * len(points)
    acts = Journal.objects.acts().done_after(since).newest_first()[:MOST_MARKS]
    marks: list[tuple[Mark, str]] = []
    for act in sorted(acts, key=lambda act: act.at):
        said = escape_invisible(f"{who(act)}: {act.verb} {shortened(object_of(act), 40)}")
        label = f"{local(act.at, '%a %H:%M %Z')}, {said}"
        kind = "deploy" if act.verb == "deploy" else ""
        marks.append((Mark((act.at - since) / whole, label, kind), f"{local(act.at, '%H:%M')} {said}"))
    return marks


def ended_shares(found: Tally) -> dict[str, str]:
    """Write what the row of an actor says of its runs."""
    p50, p95 = found.run(0.5), found.run(0.95)
    return {
        "runs": count_text(found.ended),
        "failing": _share(found.failure_share),
        "died": count_text(found.of(TaskOutcome.DEAD)),
        "time": duration(found.run_seconds) if found.run_seconds else EMPTY,
        "p50": EMPTY if p50 is None else duration(p50),
        "p95": EMPTY if p95 is None else duration(p95),
    }
