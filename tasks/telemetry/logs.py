"""Logs: structlog and every library's ``logging`` through one formatter, one line per event on standard error.

JSON lines for machines, a readable form for terminals. A line has ``timestamp`` (ISO, UTC), ``level``, ``logger``,
``event``, and what is bound to the context, ``trace_id`` first of all. Payloads, results and local variables of a
traceback are never written.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, Processor

#: Libraries that bring handlers of their own, which would print every line twice.
_WITH_OWN_HANDLERS = ("django", "django.server", "gunicorn.error", "gunicorn.access")

#: Louder than they are worth: Django repeats each 4xx that the access line has already.
_QUIET = {"django.request": logging.ERROR, "asyncio": logging.WARNING}


def configure(config: Mapping[str, Any]) -> None:
    """Set up logging for this process; Django calls it with ``settings.LOGGING``.

    Parameters:
        config: ``level``, the least important level that is written, and ``format``: json, console, or auto for
            console on a terminal and json elsewhere.
    """
    level = logging.getLevelNamesMapping()[config["level"]]
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(config["format"])],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _WITH_OWN_HANDLERS:
        _hand_over(logging.getLogger(name))
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, least))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        # Levels below ours become functions that do nothing, so that a debug line costs next to nothing.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is when the line comes: tests and daemons replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _rendering(log_format: str) -> list[Processor]:
    tracebacks: list[Processor] = [structlog.processors.format_exc_info, _without_rows]
    if log_format == "console" or (log_format == "auto" and sys.stderr.isatty()):
        # Named, because the default would print local variables, payloads among them, where `rich` is installed.
        plain = structlog.dev.plain_traceback
        return [*tracebacks, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    return [*tracebacks, structlog.processors.JSONRenderer()]


# PostgreSQL quotes the whole row when a constraint fails, payload included.
_ROW = re.compile(r"(DETAIL:  Failing row contains ).*?(?=\n\n|\Z)", re.DOTALL)


def _without_rows(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if "exception" in event:
        event["exception"] = _ROW.sub(r"\1(…).", event["exception"])
    return event


def _hand_over(logger: logging.Logger) -> None:
    logger.handlers.clear()
    logger.propagate = True
