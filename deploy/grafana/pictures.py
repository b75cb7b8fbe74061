"""Draws the dashboards from what a Prometheus answers, for the docs: an SVG for each, without Grafana.

python deploy/grafana/pictures.py http://127.0.0.1:9090 docs/images/dashboards --minutes 10
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

FOLDER = Path(__file__).with_name("dashboards")
#: Pixels of a column of Grafana's 24, and of one unit of height.
COLUMN, UNIT, HEAD = 44, 30, 26
COLOURS = ("#3274d9", "#299c46", "#e0752d", "#a352cc", "#c4162a", "#37872d", "#8f3bb8", "#b877d9")
#: More lines cannot be told apart.
MOST_LINES = len(COLOURS)
POINTS = 120

Point = tuple[float, float]


def ask(server: str, query: str, *, start: float, end: float) -> list[tuple[Mapping[str, str], list[Point]]]:
    """Ask for the series of a query between two times."""
    step = max(1, round((end - start) / POINTS))
    asked = urlencode({"query": query, "start": start, "end": end, "step": step})
    with urlopen(f"{server}/api/v1/query_range?{asked}", timeout=30) as answer:  # noqa: S310 - the address is the caller's
        found = json.load(answer)["data"]["result"]
    return [
        (one["metric"], [(at, float(value)) for at, value in one["values"] if value not in {"NaN", "+Inf", "-Inf"}])
        for one in found
    ]


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Fill in ``{{name}}``."""
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    return "" if template == "__auto" else template


def human(value: float, unit: str) -> str:
    """Write a number as an axis does."""
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if 0 < abs(value) < 1 else f"{value:.3g} s"
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def text(x: float, y: float, words: str, *, size: int = 11, colour: str = "#555", anchor: str = "start") -> str:
    """Write a text."""
    place = f'x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(words)}</text>"


def drawn(panel: Mapping[str, Any], server: str, *, start: float, end: float) -> str:
    """Draw a panel at its place."""
    place, unit = panel["gridPos"], panel["fieldConfig"]["defaults"]["unit"]
    x, y = place["x"] * COLUMN + 4, place["y"] * UNIT + HEAD + 4
    width, height = place["w"] * COLUMN - 8, place["h"] * UNIT - 8
    lines = [
        (legend(target["legendFormat"], labels), points)
        for target in panel["targets"]
        for labels, points in ask(server, target["expr"], start=start, end=end)
        if points
    ]
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="#fff" stroke="#ddd"/>'
    parts = [frame, text(x + 8, y + 17, panel["title"], size=12, colour="#222")]
    if not lines:
        parts.append(text(x + width / 2, y + height / 2 + 8, "no data", anchor="middle"))
    elif panel["type"] == "stat":
        value = human(lines[0][1][-1][1], unit)
        parts.append(text(x + width / 2, y + height / 2 + 22, value, size=28, colour=COLOURS[1], anchor="middle"))
    else:
        lines.sort(key=lambda line: -max(value for _, value in line[1]))
        parts += _chart(lines[:MOST_LINES], (x + 60, y + 28, width - 72, height - 66), unit, start=start, end=end)
    return "\n".join(parts)


def _chart(
    lines: Sequence[tuple[str, list[Point]]], box: tuple[int, int, int, int], unit: str, *, start: float, end: float
) -> list[str]:
    x, y, width, height = box
    top = max(value for _, points in lines for _, value in points) or 1.0
    parts = []
    for share in (0, 0.5, 1):
        level = y + height * (1 - share)
        parts.append(f'<path d="M{x} {level:.0f}h{width}" stroke="#eee"/>')
        parts.append(text(x - 6, level + 4, human(top * share, unit), anchor="end", size=10))
    at = x
    for (name, points), colour in zip(lines, COLOURS, strict=False):
        way = " ".join(
            f"{x + width * (when - start) / (end - start):.1f},{y + height * (1 - max(0, value) / top):.1f}"
            for when, value in points
        )
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if name and at < x + width - 60:
            parts.append(f'<rect x="{at}" y="{y + height + 16}" width="10" height="3" fill="{colour}"/>')
            parts.append(text(at + 14, y + height + 21, name, size=10))
            at += 24 + 6 * len(name)
    return parts


def picture(dashboard: Mapping[str, Any], server: str, *, start: float, end: float) -> str:
    """Draw a dashboard."""
    panels = dashboard["panels"]
    height = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in panels) * UNIT + HEAD + 4
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * COLUMN} {height}" font-family="sans-serif">'
        f'<rect width="100%" height="100%" fill="#f7f8fa"/>'
    )
    title = text(8, 19, dashboard["title"], size=15, colour="#222")
    return "\n".join([head, title, *(drawn(one, server, start=start, end=end) for one in panels), "</svg>"]) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Draw all dashboards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", help="of Prometheus, such as http://127.0.0.1:9090")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    end = time.time()
    for file in sorted(FOLDER.glob("*.json")):
        drawing = picture(json.loads(file.read_text()), options.server, start=end - options.minutes * 60, end=end)
        (options.folder / f"{file.stem}.svg").write_text(drawing)


if __name__ == "__main__":
    main(sys.argv[1:])
