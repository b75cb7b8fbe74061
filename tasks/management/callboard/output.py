"""The output of the operators' commands: tables on a terminal, plain lines in a pipe, JSON with ``--json``.

Payloads, errors and names are hostile text: nothing in them reaches a terminal as a control sequence or as markup.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Any, NamedTuple, cast

from django.core.management.base import OutputWrapper
from django.utils import timezone
from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tasks.states import AttemptOutcome, Status, WorkerStatus

#: The styles of states.
STYLES: Mapping[str, str] = {
    Status.BLOCKED: "dim",
    Status.PENDING: "cyan",
    Status.QUEUED: "cyan",
    Status.RUNNING: "blue",
    Status.RETRYING: "yellow",
    Status.SUCCEEDED: "green",
    Status.DEAD: "red",
    Status.CANCELLED: "dim",
    AttemptOutcome.FAILED: "red",
    AttemptOutcome.TIMED_OUT: "red",
    AttemptOutcome.SNOOZED: "dim",
    AttemptOutcome.INTERRUPTED: "yellow",
    AttemptOutcome.CRASHED: "red",
    AttemptOutcome.LOST: "red",
    WorkerStatus.ALIVE: "green",
    WorkerStatus.DRAINING: "yellow",
    WorkerStatus.GONE: "dim",
    "OPEN": "red",
    "REDRIVEN": "green",
    "DISCARDED": "dim",
    "PASSED": "green",
    "SKIPPED": "yellow",
    "paused": "yellow",
    "refused": "red",
}

_NOTHING = "–"
_EMPTY: tuple[Any, ...] = (None, [], {}, "")
#: Between two columns.
_GAP = "  "
_ID_WIDTH = 36
#: How far a column that wraps may shrink.
_NARROWEST = 6
#: The widths of a wide terminal, and of one with room for every column.
WIDE, WIDEST = 120, 160
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Column(NamedTuple):
    """A column: its title, and the key of its value, dotted for a nested value.

    Parameters:
        wraps: its text may continue on the next line; ids, states and numbers stay in one piece.
        from_width: on a narrower terminal the column is left out.
    """

    title: str
    key: str
    is_number: bool = False
    wraps: bool = False
    from_width: int = 0


class _Stream:
    """A stream of a Django command without Django's additions: a line end after every write, red on standard error."""

    def __init__(self, wrapper: OutputWrapper) -> None:
        self._wrapper = wrapper

    def write(self, text: str) -> None:
        """Write text unchanged."""
        self._wrapper.write(text, style_func=str, ending="")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapper, name)


@dataclass(frozen=True)
class Output:
    """Prints for a command.

    Parameters:
        console: standard output.
        errors: standard error, for progress and remarks, which must not mix with the output.
    """

    console: Console
    errors: Console
    is_json: bool

    @classmethod
    def to(cls, stdout: OutputWrapper, stderr: OutputWrapper, *, is_json: bool, no_color: bool) -> "Output":
        """Make an output to these files."""
        return cls(_console(stdout, no_color=no_color), _console(stderr, no_color=no_color), is_json)

    @property
    def is_plain(self) -> bool:
        """Whether a program, not a person, reads the output."""
        return not self.console.is_terminal

    def rows(self, results: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, has_more: bool = False) -> None:
        """Print a list: ``{"results": […], "has_more": …}``, a table, or one line per row."""
        if self.is_json:
            self.json({"results": results, "has_more": has_more})
        elif self.is_plain:
            self.lines(["\t".join(column.title for column in columns)])
            self.lines("\t".join(_written(_find(row, column.key)) for column in columns) for row in results)
        else:
            self.console.print(_fitting(results, columns, width=self.console.width))
        if has_more:
            self.remark("There are more: use a higher --limit, or filters.")

    def record(
        self,
        record: Mapping[str, Any],
        *,
        hidden: Sequence[str] = (),
        parts: Mapping[str, Sequence[Column]] | None = None,
    ) -> None:
        """Print one record: a JSON object, or a line per key.

        Parameters:
            hidden: keys that are printed only as JSON.
            parts: keys whose values are lists, printed after the others as tables of these columns.
        """
        parts = parts or {}
        if self.is_json:
            self.json(record)
            return
        shown = {key: value for key, value in record.items() if key not in hidden and key not in parts}
        if self.is_plain:
            self.lines(f"{key}\t{_written(value)}" for key, value in shown.items())
        else:
            self.console.print(_pairs(shown, width=self.console.width))
        for name, columns in parts.items():
            self._part(name, record[name], columns)

    def json(self, value: Any) -> None:
        """Print JSON."""
        self.lines([json.dumps(value, ensure_ascii=False, indent=None if self.is_plain else 2)])

    def text(self, text: str, *, title: str = "") -> None:
        """Print text of several lines, such as a traceback."""
        if title and not self.is_plain:
            self.console.print(Text(f"\n{title}", style="bold"))
        self.lines(clean(line) for line in text.splitlines())

    def lines(self, lines: Iterable[str]) -> None:
        """Print lines unchanged."""
        for line in lines:
            self.console.file.write(f"{line}\n")

    def raw(self, text: str) -> None:
        """Print text for programs unchanged."""
        self.console.file.write(text)

    def remark(self, text: str) -> None:
        """Print a remark for a person, on standard error."""
        self.errors.print(Text(text, style="dim"), soft_wrap=True)

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show a progress bar, on a terminal only; yield the function that moves it."""
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        is_seen = self.errors.is_terminal
        with Progress(*columns, console=self.errors, transient=True, disable=not is_seen) as progress:
            bar = progress.add_task(what, total=total)
            yield lambda count: progress.update(bar, completed=count)

    def _part(self, name: str, results: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
        if not results:
            return
        if self.is_plain:
            self.lines(["", name])
        else:
            self.console.print(Text(f"\n{name.replace('_', ' ')}", style="bold"))
        self.rows(results, columns)


def _console(wrapper: OutputWrapper, *, no_color: bool) -> Console:
    file = cast(IO[str], _Stream(wrapper))
    # None leaves the decision to NO_COLOR and the terminal.
    return Console(file=file, no_color=no_color or None, markup=False, highlight=False, emoji=False)


def _fitting(results: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, width: int) -> RenderableType:
    """Build the table that fits a terminal, or a block for each row if none does: ids must stay in one piece."""
    if not results:
        return Text("none", style="dim")
    shown = [column for column in columns if width >= column.from_width]
    needed = sum(_least_width(column, results) for column in shown) + len(_GAP) * (len(shown) - 1)
    return _table(results, shown) if needed <= width else _blocks(results, shown, width=width)


def _least_width(column: Column, results: Sequence[Mapping[str, Any]]) -> int:
    cells = [column.title, *(_cell(_find(row, column.key)).plain for row in results)]
    widest = max(map(cell_len, cells))
    return min(widest, _NARROWEST) if column.wraps else widest


def _blocks(results: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, width: int) -> RenderableType:
    first, *others = columns
    parts: list[RenderableType] = []
    for row in results:
        rest = {column.title: value for column in others if (value := _find(row, column.key)) not in _EMPTY}
        parts += [_cell(_find(row, first.key)), Padding(_pairs(rest, width=width - 2), (0, 0, 0, 2))]
    return Group(*parts)


def _table(results: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> Table:
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, len(_GAP), 0, 0))
    for column in columns:
        justify: JustifyMethod = "right" if column.is_number else "left"
        made.add_column(column.title, justify=justify, no_wrap=not column.wraps, overflow="fold")
    for row in results:
        made.add_row(*(_cell(_find(row, column.key)) for column in columns))
    return made


def clean(text: str) -> str:
    """Escape characters that a terminal would obey or not show: control, format and private ones, lone surrogates.

    >>> clean("red \\x1b[31m")
    'red \\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def distance(span: timedelta) -> str:
    """Write roughly how long ago, or in how long.

    >>> distance(timedelta(seconds=-90.5)), distance(timedelta(hours=3, minutes=5)), distance(timedelta(seconds=-0.3))
    ('1m 30s ago', 'in 3h 5m', 'now')
    """
    seconds = int(abs(span.total_seconds()))
    if not seconds:
        return "now"
    text = duration(seconds)
    return f"in {text}" if span > timedelta(0) else f"{text} ago"


def duration(seconds: float) -> str:
    """Write a duration in at most two units.

    >>> duration(0.25), duration(75), duration(90_000)
    ('0.25s', '1m 15s', '1d 1h')
    """
    if seconds < 10:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + "s"
    whole = int(seconds)
    parts: list[str] = []
    for name, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if whole >= size or parts:
            parts.append(f"{whole // size}{name}" if whole // size else "")
            whole %= size
    return " ".join(part for part in parts[:2] if part)


def _find(row: Mapping[str, Any], key: str) -> Any:
    value: Any = row
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _written(value: Any) -> str:
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return clean(", ".join(value))
    if isinstance(value, Mapping) and {"type", "message"} <= value.keys():
        return clean(": ".join(part for part in (value["type"], value["message"]) if part))
    if isinstance(value, Mapping | list):
        return clean(json.dumps(value, ensure_ascii=False))
    return clean(str(value))


def _cell(value: Any) -> Text:
    text = _written(value)
    if not text:
        return Text(_NOTHING, style="dim")
    return Text(_from_now(text) or text, style=STYLES.get(text, ""))


def _from_now(text: str) -> str:
    """Write how far away a time is; "" for any other text."""
    return distance(datetime.fromisoformat(text) - timezone.now()) if _TIME.fullmatch(text) else ""


def _pairs(record: Mapping[str, Any], *, width: int) -> RenderableType:
    """Build a line for each key; a value that is as long as an id gets its own line if a terminal is narrow."""
    shown = {key: _beside_now(value) for key, value in record.items() if value not in _EMPTY}
    longest = max(map(cell_len, shown), default=0)
    if longest + len(_GAP) + _ID_WIDTH > width and any(len(text.plain) >= _ID_WIDTH for text in shown.values()):
        is_short = {key: len(text.plain) <= width - longest - len(_GAP) for key, text in shown.items()}
        ends = {key: " " * (longest - cell_len(key)) + _GAP if is_short[key] else "\n" for key in shown}
        return Group(*(Text.assemble((key, "bold"), ends[key], text, overflow="fold") for key, text in shown.items()))
    made = Table.grid(padding=(0, len(_GAP), 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for key, text in shown.items():
        made.add_row(key, text)
    return made


def _beside_now(value: Any) -> Text:
    text = _written(value)
    near = f"  ({away})" if (away := _from_now(text)) else ""
    return Text.assemble((text, STYLES.get(text, "")), (near, "dim"), overflow="fold")
