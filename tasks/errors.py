"""Every error that Callboard raises on purpose: one tree, one table of codes.

The docstring of a class is its default message and ``code`` is the contract; ``STATUS_OF_CODE`` maps each code to the
status in HTTP and gRPC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FieldError:
    """An error in one field of a request; ``field`` is a dotted path such as ``tasks.3.payload.to``."""

    field: str
    code: str
    message: str


class CallboardError(Exception):
    """Something went wrong in Callboard."""

    code = "error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip().splitlines()[0]
        self.errors = tuple(errors)
        #: Of the HTTP answer.
        self.headers = dict(headers or {})
        super().__init__(self.detail)


class InvalidTask(CallboardError):
    """The request is not valid; see the errors of its fields."""

    code = "invalid"


class InvalidQuery(CallboardError):
    """The address or its query is not valid; see the errors of its parameters."""

    code = "invalid_query"


class MalformedRequest(CallboardError):
    """The request could not be read."""

    code = "malformed"


class TooLarge(CallboardError):
    """The request is larger than this server accepts."""

    code = "too_large"


class UnknownActor(InvalidTask):
    """No such actor is declared."""

    code = "unknown_actor"


class NotAuthenticated(CallboardError):
    """A valid token is needed: send "Authorization: Bearer <token>"."""

    code = "not_authenticated"


class NotAllowed(CallboardError):
    """These credentials do not allow this."""

    code = "not_allowed"


class NotFound(CallboardError):
    """It does not exist, or it belongs to another user."""

    code = "not_found"


class IllegalTransition(CallboardError):
    """The task's status does not allow this."""

    code = "illegal_transition"

    def __init__(self, verb: str, *, status: str, allowed: Sequence[str] = (), detail: str | None = None) -> None:
        self.verb, self.status = verb, status
        wanted = f"; it must be {' or '.join(allowed)}" if allowed else ""
        super().__init__(detail or f"cannot {verb} a task that is {status}{wanted}")


class VersionMismatch(IllegalTransition):
    """The task has been changed since it was read."""

    code = "version_mismatch"

    def __init__(self, expected: int | str, *, current: int | str, status: str, kind: str = "task") -> None:
        detail = f"cannot change version {expected} of a {kind} that is at version {current}; read it again"
        super().__init__("edit", status=status, detail=detail)


class IdempotencyKeyReused(CallboardError):
    """The idempotency key belongs to another submission; a new submission needs a new key."""

    code = "idempotency_key_reused"


class AttemptLost(CallboardError):
    """The task was given to another worker; this attempt can write nothing, and what it did not commit is lost."""

    code = "error"


class NotStorable(CallboardError, ValueError):
    """The value cannot be stored; see the errors."""

    code = "invalid"


class DuplicateName(CallboardError, ValueError):
    """A name of a step, wait or loop occurs twice in one run."""

    code = "invalid"


class WaitTimedOut(CallboardError, TimeoutError):
    """The signal did not come in time."""

    code = "error"


class AlreadySignalled(CallboardError):
    """The task has had this signal, or its wait for it is over."""

    code = "already_resolved"


class Duplicate(CallboardError):
    """Another task has the unique key."""

    code = "duplicate"

    def __init__(self, holders: Mapping[str, Any]) -> None:
        self.holders = dict(holders)
        errors = [
            FieldError(field, "duplicate", f"task {id} has the key" if id else "another task has the key")
            for field, id in self.holders.items()
        ]
        ids = ", ".join(sorted({str(id) for id in self.holders.values() if id}))
        super().__init__(f"another task has the unique key{f': {ids:.400}' if ids else ''}", errors=errors)

    def without_ids(self) -> "Duplicate":
        """Give the error for a caller who may not see those tasks."""
        return Duplicate(dict.fromkeys(self.holders))


class BatchClosed(IllegalTransition):
    """The batch takes no further tasks."""

    code = "illegal_transition"

    def __init__(self, batch_id: Any, *, status: str) -> None:
        super().__init__("add", status=status, detail=f"cannot add tasks to the batch {batch_id}: it is {status}")


class OperationRefused(IllegalTransition):
    """The operation's state does not allow this."""

    code = "illegal_transition"

    def __init__(self, verb: str, *, state: str) -> None:
        super().__init__(verb, status=state, detail=f"cannot {verb} an operation that is {state}")


class KeyContended(CallboardError):
    """Tasks with this unique key begin and end too fast; try again."""

    code = "key_contended"


class MethodNotAllowed(CallboardError):
    """This address does not support that method; the Allow header lists those that it supports."""

    code = "method_not_allowed"


class UnsupportedMediaType(CallboardError):
    """The body's media type is not supported: send "Content-Type: application/json"."""

    code = "unsupported_media_type"


class AlreadyResolved(CallboardError):
    """The dead letter is already resolved."""

    code = "already_resolved"


class NotSupported(CallboardError):
    """Callboard does not support this; the message names what to use instead."""

    code = "not_supported"


class DatabaseUnavailable(CallboardError):
    """The database does not answer; try again in a few seconds."""

    code = "database_unavailable"


class TooSlow(DatabaseUnavailable):
    """The database took too long over this request; narrow the search or list, or try again later."""

    code = "too_slow"


class BrokerUnavailable(CallboardError):
    """The message broker does not answer; accepted tasks wait in the database."""

    code = "broker_unavailable"


class LimiterUnavailable(CallboardError):
    """Submissions are limited, and the limit cannot be checked at the moment; try again in a few seconds."""

    code = "limiter_unavailable"


class NotReady(CallboardError):
    """The service is not ready; its components say why."""

    code = "not_ready"


class TooManyTasks(CallboardError):
    """Too many tasks were submitted; try again after the time in Retry-After."""

    code = "rate_limited"


class TooManyAtOnce(TooManyTasks):
    """One request submits more tasks than are ever allowed at once; split it, waiting does not help."""

    code = "too_many_at_once"


class TooManyRefused(TooManyTasks):
    """Too many requests were refused; correct them, and try again after the time in Retry-After."""

    code = "too_many_refused"


class TooManyWatchers(TooManyTasks):
    """This client watches too many tasks at once; end some, or try again after the time in Retry-After."""

    code = "too_many_watchers"


class WatchersFull(NotReady):
    """Too many tasks are watched at once; try again after the time in Retry-After."""


#: code → (HTTP status, gRPC status name).
STATUS_OF_CODE: dict[str, tuple[int, str]] = {
    "error": (500, "INTERNAL"),
    "invalid": (400, "INVALID_ARGUMENT"),
    "invalid_query": (400, "INVALID_ARGUMENT"),
    "malformed": (400, "INVALID_ARGUMENT"),
    "too_large": (413, "RESOURCE_EXHAUSTED"),
    "unknown_actor": (400, "INVALID_ARGUMENT"),
    "not_authenticated": (401, "UNAUTHENTICATED"),
    "not_allowed": (403, "PERMISSION_DENIED"),
    "not_found": (404, "NOT_FOUND"),
    "method_not_allowed": (405, "UNIMPLEMENTED"),
    "unsupported_media_type": (415, "INVALID_ARGUMENT"),
    "illegal_transition": (409, "FAILED_PRECONDITION"),
    "already_resolved": (409, "FAILED_PRECONDITION"),
    "version_mismatch": (412, "ABORTED"),
    "idempotency_key_reused": (422, "ALREADY_EXISTS"),
    "duplicate": (409, "ALREADY_EXISTS"),
    "key_contended": (503, "ABORTED"),
    "not_supported": (400, "UNIMPLEMENTED"),
    "database_unavailable": (503, "UNAVAILABLE"),
    "too_slow": (503, "DEADLINE_EXCEEDED"),
    "broker_unavailable": (503, "UNAVAILABLE"),
    "limiter_unavailable": (503, "UNAVAILABLE"),
    "not_ready": (503, "UNAVAILABLE"),
    "rate_limited": (429, "RESOURCE_EXHAUSTED"),
    "too_many_at_once": (429, "INVALID_ARGUMENT"),
    "too_many_refused": (429, "RESOURCE_EXHAUSTED"),
    "too_many_watchers": (429, "RESOURCE_EXHAUSTED"),
}


def http_status(error: CallboardError | type[CallboardError]) -> int:
    """Look up the HTTP status of an error."""
    return STATUS_OF_CODE[error.code][0]


class Snooze(BaseException):
    """Raised by ``tasks.current.snooze()`` to leave the actor; ``except Exception`` does not catch it."""

    def __init__(self, delay_seconds: float) -> None:
        self.delay_seconds = delay_seconds
        super().__init__(f"snoozed for {delay_seconds} s")


class Suspended(Snooze):
    """Raised by ``tasks.current.sleep()`` and ``wait_for()`` to end the attempt until the task goes on.

    Parameters:
        signal: the name of the signal that ends the wait early; empty if none does.
    """

    def __init__(self, delay_seconds: float, *, signal: str = "") -> None:
        super().__init__(delay_seconds)
        self.signal = signal


class GiveUp(BaseException):
    """Raised by ``tasks.current.give_up()`` to let the task die; ``except Exception`` does not catch it."""


def describe(errors: Sequence[FieldError]) -> str:
    """Put field errors into one sentence for a log line or a terminal."""
    return "; ".join(f"{error.field}: {error.message}" for error in errors)


def as_dict(error: FieldError) -> dict[str, Any]:
    """Give a field error its shape on the wire."""
    return {"field": error.field, "code": error.code, "message": error.message}
