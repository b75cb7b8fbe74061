"""The wait and run times of a queue or an actor: percentiles of a window, each with its line."""

from tasks.admin.charts import line
from tasks.admin.formatting import EMPTY, duration
from tasks.queries.stats import Series, Tally, Window

_TIMES = {"wait": ("Wait before start", Tally.wait), "run": ("Run time", Tally.run)}


def time_lines(points: Series, window: Window, *shown: tuple[str, float]) -> list[dict[str, str]]:
    """Write and draw percentiles.

    Parameters:
        shown: each "wait" or "run", and the part of the attempts that took at most that long: 0.95 for p95.
    """
    total, lines = points.total(), []
    for of, part in shown:
        name, time = _TIMES[of]
        label, value = f"{name}, p{part:.0%}".rstrip("%"), time(total, part)
        drawn = line([time(point, part) for point in points], label=f"{label}, last {window.label}")
        lines.append({"label": label, "value": EMPTY if value is None else duration(value), "line": drawn})
    return lines
