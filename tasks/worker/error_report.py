"""Error reports: type, message and traceback of an exception whose texts, names and attributes are not trusted."""

import traceback as traceback_module
from typing import Any, NamedTuple

from dramatiq import RateLimitExceeded

from tasks.errors import CallboardError, describe

LONGEST_MESSAGE = 10_000
LONGEST_TRACEBACK = 50_000
LONGEST_NAME = 255
LONGEST_REASON = 1_000

#: Modules whose frames stand above an actor's function; a traceback begins below them.
_CALLERS = ("tasks.worker.", "tasks.django_tasks.", "dramatiq.")


class ErrorReport(NamedTuple):
    """An exception as text that the database accepts."""

    error_type: str
    message: str
    traceback: str
    #: Whether the exception itself may be passed on. Dramatiq and logging inspect what they handle, and an exception
    #: that raises then would end their thread.
    is_inspectable: bool


#: The report of a run that raised nothing.
NO_ERROR = ErrorReport("", "", "", is_inspectable=True)


class OpaqueError(RateLimitExceeded):
    """Stands in for an exception that raises when it is inspected.

    It is a RateLimitExceeded because that is the only kind that Dramatiq's worker handles without comparing it with
    the actor's ``throws``.
    """


def report_of(error: BaseException, *, throws: Any = ()) -> ErrorReport:
    """Report an exception; never raises.

    Parameters:
        throws: the actor's option, with which Dramatiq will compare the exception.
    """
    traceback, is_formatted = _traceback(error)
    return ErrorReport(name_of(error), text_of(error), traceback, is_formatted and _is_inspectable(error, throws))


def name_of(error: BaseException) -> str:
    """Name an exception's class, whatever its metaclass says."""
    return clean(_NAME.__get__(type(error)), LONGEST_NAME)


#: What ``__name__`` of a class reads unless a metaclass says otherwise.
_NAME = type.__dict__["__name__"]


def text_of(error: BaseException) -> str:
    """Give an exception's message, or say why there is none."""
    try:
        return clean(str(error), LONGEST_MESSAGE)
    except BaseException as broken:  # noqa: BLE001 - it is the user's code, and may raise SystemExit
        return f"<{name_of(error)} whose text raises {name_of(broken)}>"


def reason_of(error: BaseException) -> str:
    """Say in one line why something was refused."""
    if is_kind(error, CallboardError):
        errors = getattr(error, "errors", ())
        return clean(describe(errors) if errors else text_of(error), LONGEST_REASON)
    # Only the first line, because the next ones of a database error quote the row.
    lines = text_of(error).splitlines()
    return clean(f"{name_of(error)}: {lines[0] if lines else ''}".removesuffix(": "), LONGEST_REASON)


def is_kind(error: BaseException, kind: type[BaseException]) -> bool:
    """Tell whether an exception is of a class; isinstance() would ask the exception for its ``__class__``."""
    return issubclass(type(error), kind)


def clean(text: str, longest: int) -> str:
    """Make a text fit for PostgreSQL: no NUL, no lone surrogates, and only its end if it is too long."""
    # Through str itself, because a user's subclass may override encode().
    text = str.encode(text, "utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return text if len(text) <= longest else "…" + text[-longest:]


def _traceback(error: BaseException) -> tuple[str, bool]:
    try:
        # Without the frames that called the actor's function.
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(_CALLERS):
            frames = frames.tb_next
        lines = traceback_module.format_exception(type(error), error, frames or error.__traceback__, limit=-30)
        return clean("".join(lines), LONGEST_TRACEBACK), True
    except BaseException as broken:  # noqa: BLE001 - it is the user's code
        return f"<the traceback of {name_of(error)} could not be formatted: {name_of(broken)}>", False


def _is_inspectable(error: BaseException, throws: Any) -> bool:
    try:
        # What Dramatiq's worker does with an exception outside any try statement.
        return isinstance(error, (RateLimitExceeded, throws or ())) or bool(str(type(error).__name__))
    except BaseException:  # noqa: BLE001 - it is the user's code
        return False
