"""Failures of the database, as errors for the caller of any door."""

from django.db import Error as DatabaseProblem
from django.db import InterfaceError, OperationalError

from tasks import errors
from tasks.conf import conf
from tasks.db import call_timeout, statements
from tasks.errors import CallboardError
from tasks.log import get_logger
from tasks.telemetry import metrics

#: How long a caller should wait before they try again.
RETRY_AFTER_SECONDS = 5

_log = get_logger(__name__)


def of_database(exc: DatabaseProblem) -> CallboardError | None:
    """Translate a failure of the database; None for a defect."""
    metrics.count_error(exc, part="requests")
    if isinstance(exc, call_timeout.TimeOver) or statements.is_cancelled(exc):
        _log.warning("a request used its time with the database up", error=_first_line(exc))
        return errors.TooSlow(
            f"this request took the database longer than {conf.REQUEST_DATABASE_SECONDS:g} s and was stopped; "
            "narrow the search or list, or try again later"
        )
    if statements.is_read_only(exc):
        _log.warning("the database takes no writes; the caller is told to try again", error=_first_line(exc))
        return errors.DatabaseUnavailable("the database takes no writes at the moment; try again in a few seconds")
    if not isinstance(exc, OperationalError | InterfaceError):
        return None
    if not isinstance(exc, call_timeout.CircuitOpen):
        # Otherwise the log has it already, once for all requests.
        _log.warning("the database does not answer; the caller is told to try again", error=_first_line(exc))
    return errors.DatabaseUnavailable()


def _first_line(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}".splitlines()[0]
