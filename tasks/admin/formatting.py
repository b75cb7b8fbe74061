"""Values as text and HTML. Payloads, errors, names and tags are untrusted: everything is escaped."""

import json
import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

#: Longer payloads and tracebacks are truncated.
MAX_CHARACTERS = 16_000
#: Tags in a row of a list, and the characters of each.
MAX_TAGS, MAX_TAG_LENGTH = 3, 24
#: The characters of an actor's name, and of an error in a row and in its tooltip.
MAX_NAME_LENGTH, MAX_ERROR_LENGTH, MAX_ERROR_TOOLTIP = 60, 120, 500
#: Of a build that is a commit's hash, and of any other.
COMMIT_LENGTH, MAX_BUILD_LENGTH = 10, 30

EMPTY = "–"

#: Characters that take no room or change the direction of the text after them: control characters except tab and
#: newline, soft hyphen, zero-width and bidirectional characters, line and paragraph separators, tags.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
_COMMIT = re.compile("[0-9a-f]{20,64}")
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def tag_links(values: list[str], *, most: int = MAX_TAGS) -> str:
    """Show tags as links to all tasks with the same tag, and count those beyond ``most``."""
    address = reverse("admin:callboard_task_changelist")
    links = format_html_join(
        " ",
        '<a class="tag" href="{}?{}" title="{}">{}</a>',
        (
            (address, urlencode({"q": value}), escape_invisible(value), shortened(value, MAX_TAG_LENGTH))
            for value in values[:most]
        ),
    )
    rest = len(values) - most
    return format_html("{} +{}", links, rest) if rest > 0 else links or EMPTY


def name_of_task(actor: str, pk: Any) -> str:
    """Name a task, or its dead letter, by its actor and the end of its own ID."""
    return f"{shortened(actor, MAX_NAME_LENGTH)} {_end_of(pk)}"


def task_cell(actor: str, pk: Any) -> str:
    """Show that name in a row, with the whole of both as tooltips."""
    return format_html(
        '<span class="name" title="{}">{}</span> <code title="{}">{}</code>',
        escape_invisible(actor),
        shortened(actor, MAX_NAME_LENGTH),
        pk,
        _end_of(pk),
    )


def error_cell(error: str) -> str:
    """Show an error in a row, with more of it as its tooltip."""
    return format_html(
        '<span class="error-line" title="{}">{}</span>',
        escape_invisible(error[:MAX_ERROR_TOOLTIP]),
        shortened(error, MAX_ERROR_LENGTH) or "No error",
    )


def task_link(task_id: Any, *, actor: str = "") -> str:
    """Link to a task by its name, or by its ID where its actor is not known."""
    address = reverse("admin:callboard_task_change", args=[task_id])
    if not actor:
        return format_html('<a href="{}"><code>{}</code></a>', address, task_id)
    name = shortened(actor, MAX_NAME_LENGTH)
    return format_html('<a href="{}"><bdi>{}</bdi> <code>{}</code></a>', address, name, _end_of(task_id))


def _end_of(pk: Any) -> str:
    return f"…{str(pk)[-8:]}"


def code(value: Any) -> str:
    """Show an ID in a fixed-width font."""
    return format_html("<code>{}</code>", value) if value else EMPTY


def build_code(build: str) -> str:
    """Show a build in a fixed-width font; of a commit's hash, the start tells it from others."""
    return format_html('<code title="{}">{}</code>', escape_invisible(build), build_text(build)) if build else EMPTY


def build_text(build: str) -> str:
    """Write a build as a row has room for it."""
    return build[:COMMIT_LENGTH] if _COMMIT.fullmatch(build) else shortened(build, MAX_BUILD_LENGTH)


def memory_text(count: int | None) -> str:
    """Write an amount of memory, given in bytes, in MB."""
    return EMPTY if count is None else f"{count / 1_000_000:,.0f} MB"


def badge(kind: str, label: str) -> str:
    """Show a state as a word on a colour."""
    return format_html('<span class="badge badge-{}">{}</span>', css_class(kind), label)


def css_class(state: str) -> str:
    """Write a state or outcome as the style sheet names it."""
    return state.lower().replace("_", "-")


def duration(seconds: float) -> str:
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


def relative_time(moment: datetime | None) -> str:
    """Show a time relative to now, with the exact time as its tooltip."""
    if moment is None:
        return EMPTY
    seconds = int((timezone.now() - moment).total_seconds())
    text = "now" if seconds == 0 else f"{_rounded(seconds)} ago" if seconds > 0 else f"in {_rounded(-seconds)}"
    return time_element(moment, text)


def time_element(moment: datetime, text: str) -> str:
    """Show a text that stands for a time, with the exact time as its tooltip: in the viewer's zone and in UTC."""
    form = "%Y-%m-%d %H:%M:%S %Z"
    exact = " · ".join(dict.fromkeys([local(moment, form), f"{moment.astimezone(UTC):{form}}"]))
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, text)


def clock_time(moment: datetime) -> str:
    """Show a time of the day, to the second."""
    return time_element(moment, local(moment, "%H:%M:%S"))


def local(moment: datetime, form: str) -> str:
    """Write a time in the viewer's zone."""
    return f"{timezone.localtime(moment):{form}}"


def exact_time(moment: datetime | None) -> str:
    """Show a time to the millisecond, and relative to now."""
    if moment is None:
        return EMPTY
    return format_html("{} · {}", time_element(moment, timestamp(moment)), relative_time(moment))


def timestamp(moment: datetime, *, has_date: bool = True) -> str:
    """Write a time to the millisecond, in the viewer's zone."""
    form = "%Y-%m-%d %H:%M:%S" if has_date else "%H:%M:%S"
    return f"{local(moment, form)}.{moment.microsecond // 1000:03d} {local(moment, '%Z')}"


def json_block(value: Any) -> str:
    """Show a JSON value indented and truncated."""
    if value is None or value == []:
        return EMPTY
    return text_block(json.dumps(value, indent=2, ensure_ascii=False))


def editable_json(value: Any) -> str:
    """Write JSON for a form: invisible characters are escaped as JSON has it, so that what comes back is the same."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _INVISIBLE.sub(lambda found: json.dumps(found[0])[1:-1], text)


def text_block(text: str) -> str:
    """Show a text with its line breaks."""
    return format_html('<pre class="data" tabindex="0" dir="ltr">{}</pre>', truncated(text)) if text else EMPTY


def truncated(text: str) -> str:
    """Cut a text to what a page has room for, and count the rest."""
    rest = len(text) - MAX_CHARACTERS
    shown = escape_invisible(text[:MAX_CHARACTERS])
    return f"{shown}\n… {rest:,} more characters" if rest > 0 else shown


def shortened(text: str, most: int) -> str:
    """Cut a text to what a row has room for."""
    text = escape_invisible(text[: most + 1])
    return text if len(text) <= most else f"{text[:most]}…"


def escape_invisible(text: str) -> str:
    """Write out characters that are invisible or change the direction of the text."""
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def count_text(count: int, *, is_capped: bool = False) -> str:
    """Write a count, with a plus sign if counting stopped there."""
    return f"{count:,}+" if is_capped else f"{count:,}"


def _rounded(seconds: int) -> str:
    """Write a duration in its largest unit of which there are at least two."""
    size, name = next((size, name) for size, name in _UNITS if seconds >= 2 * size or size == 1)
    return f"{seconds // size} {name}"
