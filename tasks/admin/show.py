"""How the control plane shows values. Payloads, errors and tags are strangers' text: all of it is escaped."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

#: Longer payloads and tracebacks are cut.
MOST_CHARACTERS = 16_000
#: Tags that a row of a list shows, and the characters of each.
MOST_TAGS, LONGEST_TAG = 3, 24

NOTHING = "–"

Column = Callable[[Any], str]

_SECRET = re.compile(r"passw|secret|token|authorization|api_?key|credential", re.IGNORECASE)
#: What takes no room, or turns the direction of what follows: control characters but tab and newline, soft hyphen,
#: zero-width and bidirectional ones, line and paragraph separator, tags.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def column(label: str, show: Column) -> Column:
    """Make a column of a list, or a line of a page, from a function of the row."""

    @admin.display(description=label)
    def shown(row: Any) -> str:
        return show(row)

    # The admin names it in CSS classes and needs the names to differ.
    shown.__name__ = re.sub(r"\W+", "_", label)
    return shown


def moment(name: str, *, label: str = "") -> Column:
    """Make the line of a time."""
    return column(label or _label(name.removesuffix("_at")), lambda row: exactly(getattr(row, name)))


def age(name: str, *, label: str = "") -> Column:
    """Make the column of a time as its distance from now."""
    return column(label or _label(name.removesuffix("_at")), lambda row: ago(getattr(row, name)))


def data(name: str, *, label: str = "") -> Column:
    """Make the line of a JSON value."""
    return column(label or _label(name), lambda row: pretty(getattr(row, name)))


def words(name: str, *, label: str = "") -> Column:
    """Make the column of a list of texts."""
    return column(label or _label(name), lambda row: visible(", ".join(getattr(row, name))) or NOTHING)


def tags(values: list[str], *, most: int = MOST_TAGS) -> str:
    """Show tags as labels that lead to all with that tag, as many as a row has room for."""
    address = reverse("admin:tasks_task_changelist")
    shown = format_html_join(
        " ",
        '<a class="tag" href="{}?{}" title="{}">{}</a>',
        ((address, urlencode({"q": value}), visible(value), shortened(value, LONGEST_TAG)) for value in values[:most]),
    )
    rest = len(values) - most
    return format_html("{} +{}", shown, rest) if rest > 0 else shown or NOTHING


def code(value: Any) -> str:
    """Show an id."""
    return format_html("<code>{}</code>", value) if value else NOTHING


def badge(kind: str, label: str) -> str:
    """Show a state as a word on a colour."""
    return format_html('<span class="badge badge-{}">{}</span>', kind.lower().replace("_", "-"), label)


def span(seconds: float) -> str:
    """Write a duration with its two largest units."""
    if seconds < 0.001:
        return "<1 ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for (size, name), (smaller, name_of_smaller) in pairwise(_UNITS):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name} {rest} {name_of_smaller}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def ago(moment: datetime | None) -> str:
    """Show a time as its distance from now, the time itself on hovering."""
    if moment is None:
        return NOTHING
    seconds = int((timezone.now() - moment).total_seconds())
    text = "now" if seconds == 0 else f"{_about(seconds)} ago" if seconds > 0 else f"in {_about(-seconds)}"
    return stamp(moment, text)


def stamp(moment: datetime, text: str) -> str:
    """Show a text that stands for a time, the time itself on hovering."""
    exact = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, text)


def exactly(moment: datetime | None) -> str:
    """Show a time to the millisecond, and its distance from now."""
    if moment is None:
        return NOTHING
    return format_html("{} · {}", clock(moment), ago(moment))


def clock(moment: datetime) -> str:
    """Write a time to the millisecond."""
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"


def pretty(value: Any) -> str:
    """Show a JSON value, indented, cut, and without what its keys call secret."""
    if value is None or value == []:
        return NOTHING
    return block(json.dumps(_redacted(value), indent=2, ensure_ascii=False))


def block(text: str) -> str:
    """Show a text as it is, in lines."""
    return format_html('<pre class="data" dir="ltr">{}</pre>', cut(text)) if text else NOTHING


def cut(text: str) -> str:
    """Cut a text that no page should hold."""
    rest = len(text) - MOST_CHARACTERS
    return visible(text) if rest <= 0 else f"{visible(text[:MOST_CHARACTERS])}\n… {rest:,} more characters"


def shortened(text: str, most: int) -> str:
    """Cut a text to what a row has room for."""
    text = visible(text[: most + 1])
    return text if len(text) <= most else f"{text[:most]}…"


def visible(text: str) -> str:
    """Write out characters that nobody would see, and those that would turn the page's direction."""
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def number(count: int, *, is_capped: bool = False) -> str:
    """Write a count, and whether there may be more."""
    return f"{count:,}+" if is_capped else f"{count:,}"


def _about(seconds: int) -> str:
    """Write a distance with its largest unit, of which there are two at least."""
    size, name = next((size, name) for size, name in _UNITS if seconds >= 2 * size or size == 1)
    return f"{seconds // size} {name}"


def _label(name: str) -> str:
    return name.replace("_", " ")


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "•••" if _SECRET.search(key) else _redacted(item) for key, item in value.items()}
    return [_redacted(item) for item in value] if isinstance(value, list) else value
