"""What can be said about an exception, whatever it is made of: no text, name or attribute of it is trusted."""

import traceback as traceback_module
from typing import Any, NamedTuple

from dramatiq import RateLimitExceeded

LONGEST_MESSAGE = 10_000
LONGEST_TRACEBACK = 50_000
LONGEST_NAME = 255

#: Frames above an actor's function; a traceback begins below them.
_ENGINE = ("tasks.worker.", "dramatiq.")


class Told(NamedTuple):
    """An exception in words that the database takes."""

    error_type: str
    message: str
    traceback: str
    #: Whether others may look at the exception itself: Dramatiq and logging ask it while they handle it, and what it
    #: raised then would end the thread.
    is_plain: bool


#: Where nothing was raised.
NOTHING = Told("", "", "", is_plain=True)


class Untellable(RateLimitExceeded):
    """Stands for an exception that raises when it is looked at.

    Of this kind, because it is the only one that Dramatiq's worker handles without a look at the actor's ``throws``.
    """


def tell(error: BaseException, *, throws: Any = ()) -> Told:
    """Put an exception into words; never raises.

    Parameters:
        throws: what Dramatiq will compare it with.
    """
    traceback, is_plain = _traceback(error)
    return Told(name_of(error), text_of(error), traceback, is_plain and _can_be_asked(error, throws))


def name_of(error: BaseException) -> str:
    """Name its class, past what a metaclass says."""
    return clean(_NAME.__get__(type(error)), LONGEST_NAME)


#: What ``__name__`` of a class reads unless a metaclass says otherwise.
_NAME = type.__dict__["__name__"]


def text_of(error: BaseException) -> str:
    """Give its message, or say why there is none."""
    try:
        return clean(str(error), LONGEST_MESSAGE)
    except BaseException as broken:  # noqa: BLE001 - it is the user's code, and may raise SystemExit
        return f"<{name_of(error)} whose text raises {name_of(broken)}>"


def clean(text: str, longest: int) -> str:
    """Make any text fit for PostgreSQL: no NUL, no lone surrogates, its end if it is too long."""
    # Through str itself: a subclass of the user's has its own encode().
    text = str.encode(text, "utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return text if len(text) <= longest else "…" + text[-longest:]


def _traceback(error: BaseException) -> tuple[str, bool]:
    try:
        # Without the frames of Dramatiq and ours above the actor's function.
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(_ENGINE):
            frames = frames.tb_next
        lines = traceback_module.format_exception(type(error), error, frames or error.__traceback__, limit=-30)
        return clean("".join(lines), LONGEST_TRACEBACK), True
    except BaseException as broken:  # noqa: BLE001 - it is the user's code
        return f"<the traceback of {name_of(error)} could not be formatted: {name_of(broken)}>", False


def _can_be_asked(error: BaseException, throws: Any) -> bool:
    try:
        # The questions that Dramatiq's worker asks outside of any try.
        return isinstance(error, (RateLimitExceeded, throws or ())) or bool(str(type(error).__name__))
    except BaseException:  # noqa: BLE001 - it is the user's code
        return False
