"""Display functions for the admin: columns of a list and fields of a page, each made from a function of the row."""

import re
from collections.abc import Callable
from typing import Any

from django.contrib import admin

from tasks.admin.formatting import EMPTY, duration, escape_invisible, exact_time, json_block, relative_time

Display = Callable[[Any], str]


def display(label: str, show: Display) -> Display:
    """Label a function of the row for the admin."""

    @admin.display(description=label)
    def shown(row: Any) -> str:
        return show(row)

    # The admin uses the name in CSS classes and needs the names to differ.
    shown.__name__ = re.sub(r"\W+", "_", label)
    return shown


def display_time(name: str, *, label: str = "") -> Display:
    """Show a time exactly."""
    return display(label or _label(name.removesuffix("_at")), lambda row: exact_time(getattr(row, name)))


def display_age(name: str, *, label: str = "") -> Display:
    """Show a time relative to now."""
    return display(label or _label(name.removesuffix("_at")), lambda row: relative_time(getattr(row, name)))


def display_seconds(name: str, *, label: str, absent: str = EMPTY, zero: str = "0 s") -> Display:
    """Show a duration; ``absent`` stands for None and ``zero`` for 0."""

    def show(row: Any) -> str:
        seconds = getattr(row, name)
        return absent if seconds is None else duration(seconds) if seconds else zero

    return display(label, show)


def display_json(name: str, *, label: str = "") -> Display:
    """Show a JSON value."""
    return display(label or _label(name), lambda row: json_block(getattr(row, name)))


def display_list(name: str, *, label: str = "") -> Display:
    """Show a list of texts."""
    return display(label or _label(name), lambda row: escape_invisible(", ".join(getattr(row, name))) or EMPTY)


def _label(name: str) -> str:
    return name.replace("_", " ")
