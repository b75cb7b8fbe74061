"""The course of an operation, as a form gives it: how many rows go first, how fast, and when it stops."""

from typing import Any

from django.http import HttpRequest

_NUMBERS = ("canary", "stop_percent", "rate_per_second")


def numbers_of(request: HttpRequest) -> dict[str, Any]:
    """Read the numbers of a form that begins an operation; empty fields are left out.

    Text that is not a number stays text: the contract names the field and what it expected.
    """
    return {name: _number(request.POST[name]) for name in _NUMBERS if request.POST.get(name)}


def _number(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number
