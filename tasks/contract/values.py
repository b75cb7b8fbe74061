"""How single values are written: times, numbers and errors."""

from datetime import datetime

from tasks.contract.sight import Lens


def timestamp(moment: datetime | None) -> str | None:
    """Write a time in UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment is not None else None


def number(value: float | None) -> float | None:
    """Write a whole number without its ".0", so that equal numbers are the same text."""
    return int(value) if value is not None and float(value).is_integer() else value


def error_as_dict(lens: Lens, kind: str, message: str, **more: str) -> dict[str, str | None] | None:
    """Write an error as the caller sees it; None if there is none. Its type is never hidden."""
    if not (kind or message):
        return None
    return {"type": kind, "message": lens.text(message), **{name: lens.text(text) for name, text in more.items()}}


def last_error_as_dict(lens: Lens, text: str) -> dict[str, str | None] | None:
    """Write the error of a task's row, which holds "Type: message"; an error without a type is all message."""
    kind, colon, message = text.partition(": ")
    return error_as_dict(lens, kind, message) if colon else error_as_dict(lens, "", text)
