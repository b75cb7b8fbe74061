"""Logs: structlog and every library's ``logging`` through one formatter, one line per event on standard error.

JSON lines for machines, a readable form for terminals. A line has ``timestamp`` (ISO, UTC), ``level``, ``logger``,
``event``, and the values that are bound to the context, above all ``trace_id``. Payloads, results and local variables
of a traceback are never written, and secrets in what code logs itself are masked (``tasks.masking``).

Processes that run actors or supervise others write in the background: see ``tasks.log_writer``.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, Processor

from tasks import log_writer, masking
from tasks.log import COMMON, Event, Events, Records

#: Libraries with handlers of their own, which would print every line twice.
_WITH_OWN_HANDLERS = ("django", "django.server", "gunicorn.error", "gunicorn.access")

#: Loggers that would say too much: Django repeats each 4xx that the access line has already, and at debug level it
#: writes every SQL statement with its parameters, payloads among them.
_QUIET = {"django.request": logging.ERROR, "django.db.backends": logging.INFO, "asyncio": logging.WARNING}


def configure(config: Mapping[str, Any]) -> None:
    """Set up logging for this process; Django calls it with ``settings.LOGGING``.

    Parameters:
        config: ``level``, the least important level that is written, and ``format``: json, console, or auto for
            console on a terminal and json elsewhere.
    """
    level = logging.getLevelNamesMapping()[config["level"]]
    handler = _StandardError()
    handler.setFormatter(_Formatter(config["format"]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _WITH_OWN_HANDLERS:
        _hand_over(logging.getLogger(name))
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, least))
    logging.captureWarnings(True)
    Records.least = level
    # For code that asks structlog itself, as actors do. It names a logger without a name after the module that asks for
    # it, and must not take this one for that.
    named = structlog.stdlib.LoggerFactory([__name__])
    structlog.configure(
        processors=COMMON,
        # Levels below this one become functions that do nothing, so that a debug line costs next to nothing.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *name: Records(named(*name)),
        cache_logger_on_first_use=True,
    )


def write_each(name: str, level: int, event: str, each: Iterable[Mapping[str, Any]]) -> None:
    """Log one event that happened to many things: one record with a line for each.

    Parameters:
        name: of the logger.
        each: the further values of each line; not read if the level is not written.
    """
    logger = logging.getLogger(name)
    lines = list(each) if logger.isEnabledFor(level) else []
    if not lines:
        return
    common: Any = {"event": event}
    for step in COMMON:
        common = step(logger, logging.getLevelName(level).lower(), common)
    events = Events({**common, **line} for line in lines)
    log_writer.write(logger, logger.makeRecord(name, level, "", 0, events, (), None))


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to the current ``sys.stderr``, which tests and daemons replace."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class _Formatter(logging.Formatter):
    """Writes structlog's events and the records of libraries.

    structlog's ProcessorFormatter would make a second record for each line.
    """

    def __init__(self, log_format: str) -> None:
        super().__init__()
        self._render = _renderer(log_format)

    def format(self, record: logging.LogRecord) -> str:
        """Write each event as one line, without its secrets."""
        known = masking.expected()
        text = "\n".join(map(self._line, self._events(record)))
        # One look at all lines costs a fraction of one for each, and most hold nothing to mask.
        if not masking.may_hold_secret(text, known=known):
            return text
        return "\n".join(
            self._line(event, hide=lambda one: masking.masked(one, known=known)) for event in self._events(record)
        )

    def _events(self, record: logging.LogRecord) -> Sequence[EventDict]:
        # Copies, because other handlers get the same record.
        if isinstance(record.msg, Events):
            return [dict(event) for event in record.msg]
        return [dict(record.msg) if isinstance(record.msg, Event) else self._of_library(record)]

    def _line(self, event: EventDict, *, hide: Callable[[EventDict], EventDict] | None = None) -> str:
        for step in _TRACEBACKS:
            event = step(None, "", event)  # type: ignore[assignment]
        return str(self._render(None, "", event if hide is None else hide(event)))

    def _of_library(self, record: logging.LogRecord) -> EventDict:
        event: Any = {"event": record.getMessage(), "_record": record}
        event |= {name: value for name in ("exc_info", "stack_info") if (value := getattr(record, name))}
        for step in COMMON:
            event = step(None, record.levelname.lower(), event)
        del event["_record"]
        return dict(event)


def _renderer(log_format: str) -> Processor:
    """Choose how an event becomes a line."""
    if log_format == "console" or (log_format == "auto" and sys.stderr.isatty()):
        # Named, because the default prints local variables, and so payloads, where `rich` is installed.
        plain = structlog.dev.plain_traceback
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    return _as_json


def _as_json(_logger: Any, _method: str, event: EventDict) -> str:
    return _ENCODER.encode(event)


# structlog's JSONRenderer would make an encoder for each line.
_ENCODER = json.JSONEncoder(default=repr)


# PostgreSQL quotes the whole row when a constraint fails, payload included.
_ROW = re.compile(r"(DETAIL:  Failing row contains ).*?(?=\n\n|\Z)", re.DOTALL)


def _without_rows(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if "exception" in event:
        event["exception"] = _ROW.sub(r"\1(…).", event["exception"])
    return event


_TRACEBACKS: list[Processor] = [structlog.processors.format_exc_info, _without_rows]


def _hand_over(logger: logging.Logger) -> None:
    logger.handlers.clear()
    logger.propagate = True
