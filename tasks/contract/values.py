"""How single values are written: times, numbers and errors."""

from datetime import datetime


def timestamp(moment: datetime | None) -> str | None:
    """Write a time in UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment is not None else None


def number(value: float | None) -> float | None:
    """Write a whole number without its ".0", so that equal numbers are the same text."""
    return int(value) if value is not None and float(value).is_integer() else value


def error_as_dict(kind: str, message: str, **more: str) -> dict[str, str] | None:
    """Write an error; None if there is none."""
    return {"type": kind, "message": message, **more} if kind or message else None


def last_error_as_dict(text: str) -> dict[str, str] | None:
    """Write the error of a task's row, which holds "Type: message"; an error without a type is all message."""
    kind, colon, message = text.partition(": ")
    return error_as_dict(kind, message) if colon else error_as_dict("", text)
