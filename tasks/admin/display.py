"""Display functions for the admin: columns of a list and fields of a page, each made from a function of the row."""

import re
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.utils.html import format_html

from tasks.admin.formatting import EMPTY, count_text, duration, escape_invisible, exact_time, json_block, relative_time
from tasks.submission import Seconds, TaskField

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


def display_limit(field: TaskField, *, zero: str) -> Display:
    """Show a declared duration or number of a task, with the declaration's help as its tooltip.

    Parameters:
        zero: stands for a duration of 0.
    """

    def show(row: Any) -> str:
        value = getattr(row, field.name)
        if value is None:
            text = field.if_null
        elif isinstance(field.kind, Seconds):
            text = duration(value) if value else zero
        else:
            text = count_text(value)
        return format_html('<span title="{}">{}</span>', field.help, text)

    return display(_label(field.name.removesuffix("_seconds")), show)


def display_json(name: str, *, label: str = "") -> Display:
    """Show a JSON value."""
    return display(label or _label(name), lambda row: json_block(getattr(row, name)))


def display_list(name: str, *, label: str = "") -> Display:
    """Show a list of texts."""
    return display(label or _label(name), lambda row: escape_invisible(", ".join(getattr(row, name))) or EMPTY)


def _label(name: str) -> str:
    return name.replace("_", " ")
