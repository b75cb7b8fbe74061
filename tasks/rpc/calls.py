"""One call, from its bytes to its answer: who asks, may they, what do they ask, and the errors of all of these.

It is the same for each method. The server runs it on a thread of its own.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from google.protobuf.message import Message

from tasks.conf import conf
from tasks.contract.access import Action, Caller
from tasks.contract.authentication import authenticated
from tasks.contract.client_address import client_address
from tasks.contract.journal import take_reason
from tasks.contract.rate_limit import SubmissionLimit
from tasks.contract.refusal_limit import REFUSED, address_key, refusal_key, refusals
from tasks.contract.sight import Sees, sight_of
from tasks.contract.watching import Watch
from tasks.db import call_timeout, server, sessions
from tasks.errors import CallboardError, NotAuthenticated, TooManyRefused, TooSlow, http_status
from tasks.lifecycle import Author
from tasks.log import get_logger
from tasks.rpc import errors, messages
from tasks.states import Door, Scope
from tasks.telemetry import trace

_log = get_logger(__name__)

#: The fields of a request.
Values = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A method of a service.

    Parameters:
        answer: does what is asked, and returns the fields of the answer.
    """

    action: Action
    answer: "Callable[[Call, Values], Mapping[str, Any]]"
    request: type[Message]
    response: type[Message]
    is_stream: bool = False
    #: Whether the answer is a stream of events; then the fields are ``watches``.
    is_watch: bool = False


@dataclass(frozen=True)
class Origin:
    """Where a call comes from.

    Parameters:
        metadata: by name, in lower case.
        peer: the address at the other end of the connection.
        ends_at: when the client stops waiting, by ``time.monotonic()``; None: it does not say.
    """

    metadata: Mapping[str, str]
    peer: str = ""
    ends_at: float | None = None

    @property
    def address(self) -> str:
        """The address that the caller's limits go by."""
        return client_address(self.peer, self.forwarded_for)

    @property
    def forwarded_for(self) -> str:
        """What proxies wrote of the addresses before the peer's."""
        return self.metadata.get("x-forwarded-for", "")

    @property
    def seconds(self) -> float | None:
        """How long the client still waits for the answer; None: it does not say."""
        return None if self.ends_at is None else self.ends_at - time.monotonic()

    @property
    def has_token(self) -> bool:
        """Whether it brings credentials, right or wrong."""
        return "authorization" in self.metadata


def trace_id_of(metadata: Mapping[str, str]) -> str:
    """Read the caller's trace id, or draw one."""
    names = ("x-trace-id", "traceparent")
    return trace.from_headers({f"HTTP_{name.upper().replace('-', '_')}": metadata.get(name, "") for name in names})


@dataclass
class Call:
    """What a method knows of its caller."""

    caller: Caller
    limit: SubmissionLimit = field(init=False)

    def __post_init__(self) -> None:
        self.limit = SubmissionLimit(self.caller)

    @property
    def sees(self) -> Sees:
        """How much of a task's data the caller sees."""
        return sight_of(self.caller)

    def author(self, asked: Values) -> Author:
        """Name the caller as the author of what they ask for; the request's reason is taken out of it."""
        return Author(self.caller.name, Door.GRPC, take_reason(asked))


@dataclass(frozen=True)
class Answer:
    """The answer to a call: a message, or an error."""

    message: Message | None
    error: CallboardError | None
    #: The headers of the submission limit.
    headers: Mapping[str, str]
    #: What the answer comes from, if it is a stream of events.
    watches: Sequence[Watch] = ()


def answer(method: Method, raw: bytes, origin: Origin) -> Answer:
    """Answer a call; what goes wrong is in the answer, a defect too."""
    caller: Caller | None = None
    try:
        with _database(origin.seconds):
            caller = _caller(origin)
            caller.require_for_some(method.action)
            is_change = method.action.scope != Scope.READ
            if is_change and caller.is_limited:
                refusals.check(refusal_key(caller))
            call = Call(caller)
            values = method.answer(call, messages.read(method.request, raw))
            if method.is_watch:
                return Answer(None, None, call.limit.headers, watches=values["watches"])
            return Answer(messages.write(method.response, values), None, call.limit.headers)
    except Exception as exc:  # noqa: BLE001 - a defect is logged, and answered like every other error
        error = errors.translated(exc)
        if error is None:
            _log.error("a gRPC call failed; its caller gets INTERNAL", exc_info=True)
            error = CallboardError()
        _note_refusal(error, method, caller, origin, size=len(raw))
        return Answer(None, error, error.headers)


def admitted(origin: Origin, action: Action | None = None) -> CallboardError | None:
    """Check the token of a stream before anything of it is read; return why it is refused."""
    try:
        with _database(origin.seconds):
            caller = _caller(origin)
            if action is not None:
                caller.require_for_some(action)
    except Exception as exc:  # noqa: BLE001 - as above
        error = errors.translated(exc)
        if error is None:
            _log.error("the token of a gRPC call could not be checked; its caller gets INTERNAL", exc_info=True)
            return CallboardError()
        if isinstance(error, NotAuthenticated) and origin.has_token:
            refusals.note(address_key(origin.address))
        return error
    return None


def _caller(origin: Origin) -> Caller:
    credentials = origin.metadata.get("authorization")
    if credentials is None:
        raise NotAuthenticated('a valid token is needed: send the metadata "authorization: Bearer <token>"')
    token = authenticated(credentials, address=origin.address)
    return Caller(token.user, token, origin.peer, origin.forwarded_for)


def _note_refusal(error: CallboardError, method: Method, caller: Caller | None, origin: Origin, *, size: int) -> None:
    """Count an error if it refuses the call."""
    if http_status(error) not in REFUSED or isinstance(error, TooManyRefused):
        return
    if caller is None:
        if origin.has_token or method.action.scope != Scope.READ:
            refusals.note(address_key(origin.address), size=size)
    elif caller.is_limited and method.action.scope != Scope.READ:
        refusals.note(refusal_key(caller), size=size)


@contextmanager
def _database(seconds: float | None) -> Iterator[None]:
    """Bound the database calls of a call by its deadline, and by what a request of the API has."""
    most = conf.REQUEST_DATABASE_SECONDS if seconds is None else min(seconds, conf.REQUEST_DATABASE_SECONDS)
    if most <= 0:
        raise TooSlow("the deadline of this call was over before it began")
    # A session that was lost since the last call is opened anew.
    sessions.renew()
    try:
        with call_timeout.bounded(most, breaker=server.breaker):
            yield
    finally:
        for one in connections.all(initialized_only=True):
            if one.errors_occurred and not one.in_atomic_block:
                one.close()
