"""Charts as SVG, drawn by the server: geometry in attributes, colours in the style sheet, and no script."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.utils.html import format_html, format_html_join

#: The size of a line, in its own units. The page stretches the line, but not its stroke.
_WIDTH, _HEIGHT = 100, 24
#: A bar's width and the gap behind it.
_BAR, _GAP = 9, 1
_BARS_HEIGHT = 100
_SQUARE, _SQUARE_GAP = 12, 4
MOST_SQUARES = 32


class Bar(NamedTuple):
    """One stacked bar: its parts from the bottom up, each a count with a kind that the style sheet colours."""

    parts: Sequence[tuple[str, int]]
    #: Read out, and shown as a tooltip.
    label: str
    url: str = ""


class Mark(NamedTuple):
    """A line across bars or a track; its place is between the start (0) and the end (1)."""

    place: float
    label: str
    #: The style sheet colours it.
    kind: str = ""


class Span(NamedTuple):
    """A part of a track; its start and end are between 0 and 1."""

    start: float
    end: float
    kind: str
    label: str
    #: It links there.
    url: str = ""


def line(values: Sequence[float | None], *, label: str, kind: str = "") -> str:
    """Draw values from left to right; None is drawn as 0."""
    known = [value or 0.0 for value in values]
    highest = max([*known, 0.0]) or 1.0
    step = _WIDTH / max(len(known) - 1, 1)
    points = " ".join(
        f"{nth * step:.1f},{_HEIGHT - 2 - (_HEIGHT - 4) * value / highest:.1f}" for nth, value in enumerate(known)
    )
    return format_html(
        '<svg class="chart line {}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<polyline points="{}" vector-effect="non-scaling-stroke"/></svg>',
        kind,
        _WIDTH,
        _HEIGHT,
        label,
        points,
    )


def bars(found: Sequence[Bar], *, label: str, highest: int, marks: Iterable[Mark] = ()) -> str:
    """Draw stacked bars, each a link if it has an address, and marks across them."""
    width = len(found) * (_BAR + _GAP)
    drawn = format_html_join("", "{}", ((_bar(nth, bar, highest),) for nth, bar in enumerate(found)))
    lines = format_html_join(
        "",
        '<line class="mark {3}" x1="{0}" x2="{0}" y1="0" y2="{1}" vector-effect="non-scaling-stroke">'
        "<title>{2}</title></line>",
        ((f"{mark.place * width:.1f}", _BARS_HEIGHT, mark.label, mark.kind) for mark in marks),
    )
    return format_html(
        '<svg class="chart bars" viewBox="0 0 {} {}" preserveAspectRatio="none" role="group" aria-label="{}">'
        "{}{}</svg>",
        width,
        _BARS_HEIGHT,
        label,
        drawn,
        lines,
    )


def _bar(nth: int, bar: Bar, highest: int) -> str:
    left, top, parts = nth * (_BAR + _GAP), float(_BARS_HEIGHT), []
    for kind, count in bar.parts:
        height = _BARS_HEIGHT * min(count, highest) / (highest or 1)
        if count:
            # A few deaths among thousands must still be seen.
            height = max(height, 1.5)
            parts.append((kind, left, f"{max(0.0, top - height):.2f}", _BAR, f"{height:.2f}"))
            top -= height
    rects = format_html_join("", '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>', parts)
    if not parts or not bar.url:
        return format_html("<g><title>{}</title>{}</g>", bar.label, rects)
    return format_html(
        '<a href="{}" aria-label="{}"><title>{}</title><rect class="hit" x="{}" y="0" width="{}" height="{}"/>{}</a>',
        bar.url,
        bar.label,
        bar.label,
        left,
        _BAR + _GAP,
        _BARS_HEIGHT,
        rects,
    )


def load(parts: Sequence[tuple[str, int]], *, most: int, label: str) -> str:
    """Draw counts side by side in one bar; ``most``, the total of the longest bar, fills the width."""
    left, drawn = 0.0, []
    for kind, count in parts:
        width = 100 * count / (most or 1)
        if count:
            width = max(width, 1.0)
            drawn.append((kind, f"{min(left, 99.0):.2f}", f"{min(width, 100 - min(left, 99.0)):.2f}"))
            left += width
    rects = format_html_join("", '<rect class="{}" x="{}" y="0" width="{}" height="10"/>', drawn)
    return format_html(
        '<svg class="chart load" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="ground" x="0" y="0" width="100" height="10"/>{}</svg>',
        label,
        rects,
    )


def squares(kinds: Sequence[str], *, label: str) -> str:
    """Draw a square for each thread."""
    shown = kinds[:MOST_SQUARES]
    width = max(len(shown), 1) * (_SQUARE + _SQUARE_GAP) - _SQUARE_GAP
    rects = format_html_join(
        "",
        '<rect class="{}" x="{}" y="0" width="{}" height="{}" rx="3"/>',
        ((kind, nth * (_SQUARE + _SQUARE_GAP), _SQUARE, _SQUARE) for nth, kind in enumerate(shown)),
    )
    return format_html(
        '<svg class="chart squares" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="{2}">'
        "{3}</svg>",
        width,
        _SQUARE,
        label,
        rects,
    )


def track(spans: Iterable[Span], flags: Iterable[Mark] = (), *, label: str) -> str:
    """Draw one track of a Gantt strip, with flags across it."""
    spans = list(spans)
    drawn = format_html_join("", "{}", ((_span(one),) for one in spans))
    lines = format_html_join(
        "",
        '<line class="mark" x1="{0}" x2="{0}" y1="0" y2="16" vector-effect="non-scaling-stroke">'
        "<title>{1}</title></line>",
        ((f"{flag.place * 1000:.2f}", flag.label) for flag in flags),
    )
    return format_html(
        '<svg class="chart track" viewBox="0 0 1000 16" preserveAspectRatio="none" role="{}" aria-label="{}">'
        "{}{}</svg>",
        "group" if any(span.url for span in spans) else "img",
        label,
        drawn,
        lines,
    )


def _span(span: Span) -> str:
    # A run of a moment must still be seen.
    width = max((span.end - span.start) * 1000, 2.0)
    rect = format_html(
        '<rect class="{}" x="{}" y="3" width="{}" height="10"><title>{}</title></rect>',
        span.kind,
        f"{span.start * 1000:.2f}",
        f"{width:.2f}",
        span.label,
    )
    return format_html('<a href="{}" aria-label="{}">{}</a>', span.url, span.label, rect) if span.url else rect


def scale_of(highest: int) -> int:
    """Round up to a number that is easy to halve and to read."""
    size = 1
    while True:
        for factor in (2, 4, 6, 8, 10):
            if highest <= size * factor:
                return size * factor
        size *= 10
