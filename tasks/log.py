"""Callboard's own loggers: structlog's, whatever the project around it has configured for its own.

An event becomes one record of the standard library, so that it goes where the project's ``LOGGING`` sends the loggers
``tasks``, ``dlq`` and ``scheduler_site``. On Callboard's own site it is a line of JSON (``tasks.telemetry.logs``).
"""

import logging
import sys
from functools import partialmethod
from types import TracebackType
from typing import Any

import structlog
from structlog.types import Processor

from tasks import log_writer

#: What every event gets.
COMMON: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
#: Parts of an event that are parts of its record, too.
_OF_RECORD = frozenset({"event", "level", "logger", "timestamp", "exc_info", "stack_info"})

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None] | None


def get_logger(name: str) -> Any:
    """Return the logger of a module, with structlog's methods."""
    return structlog.wrap_logger(
        Records(logging.getLogger(name)), processors=COMMON, wrapper_class=_Levels, cache_logger_on_first_use=True
    )


class Event(dict[str, Any]):
    """An event as the message of a record; a class of its own, because libraries log dictionaries too."""

    def __str__(self) -> str:
        """Write the text and the values, for handlers that know no events."""
        values = " ".join(f"{name}={value}" for name, value in self.items() if name not in _OF_RECORD)
        return f"{self.get('event', '')} {values}".rstrip()


class Events(list[dict[str, Any]]):
    """Several events as the message of one record."""

    def __str__(self) -> str:
        return "\n".join(str(Event(event)) for event in self)


class Records:
    """Puts an event into a record of the standard library, so that every handler gets it.

    A logger's own methods would first look for the caller's file and line, which are not printed.
    """

    #: The lowest level that is written where Callboard has set up the logs; None leaves it to each logger.
    least: int | None = None

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self.name = logger.name

    def writes(self, level: int) -> bool:
        """Tell whether a level is written; a logger would take a lock to find out, which an interrupt may leak."""
        return self._logger.isEnabledFor(level) if Records.least is None else level >= Records.least

    def _write(self, level: int, /, **event: Any) -> None:
        raised = _exc_info(event.get("exc_info"))
        log_writer.write(self._logger, self._logger.makeRecord(self.name, level, "", 0, Event(event), (), raised))

    debug = partialmethod(_write, logging.DEBUG)
    info = partialmethod(_write, logging.INFO)
    warning = partialmethod(_write, logging.WARNING)
    error = partialmethod(_write, logging.ERROR)
    critical = partialmethod(_write, logging.CRITICAL)


def _exc_info(given: Any) -> ExcInfo:
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    return sys.exc_info() if given is True else given or None


class _Levels(structlog.BoundLoggerBase):
    """A logger's methods; those of a level that is not written return at once."""

    def log(self, level: int, event: str, **values: Any) -> None:
        """Log an event at a level."""
        if self._logger.writes(level):
            self._proxy_to_logger(logging.getLevelName(level).lower(), event, **values)

    debug = partialmethod(log, logging.DEBUG)
    info = partialmethod(log, logging.INFO)
    warning = partialmethod(log, logging.WARNING)
    error = partialmethod(log, logging.ERROR)
    critical = partialmethod(log, logging.CRITICAL)

    def exception(self, event: str, **values: Any) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        self.error(event, exc_info=True, **values)
