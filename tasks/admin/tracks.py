"""Tracks: runs and waits with their times, drawn to one scale."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from tasks.admin.charts import Mark, Span, track


class Part(NamedTuple):
    """A run or a wait; ``kind`` is what the style sheet colours it by."""

    start: datetime
    end: datetime
    kind: str
    label: str
    #: It links there.
    url: str = ""


class Scale(NamedTuple):
    """The time from the left end of tracks to their right end."""

    first: datetime
    last: datetime

    @property
    def seconds(self) -> float:
        """Its length, above 0."""
        return (self.last - self.first).total_seconds() or 1.0

    def place(self, moment: datetime) -> float:
        """Place a moment between the ends, which are 0 and 1; one beyond an end is placed there."""
        return min(1.0, max(0.0, (moment - self.first).total_seconds() / self.seconds))

    def draw(self, parts: Iterable[Part], flags: Iterable[Mark] = (), *, label: str) -> str:
        """Draw one track."""
        spans = [Span(self.place(one.start), self.place(one.end), one.kind, one.label, one.url) for one in parts]
        return track(spans, flags, label=label)
