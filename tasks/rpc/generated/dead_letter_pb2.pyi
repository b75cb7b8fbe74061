import datetime

from tasks.rpc.generated import task_pb2 as _task_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeathReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEATH_REASON_UNSPECIFIED: _ClassVar[DeathReason]
    DEATH_REASON_MAX_RETRIES_EXCEEDED: _ClassVar[DeathReason]
    DEATH_REASON_NOT_RETRYABLE: _ClassVar[DeathReason]
    DEATH_REASON_AGE_LIMIT_EXCEEDED: _ClassVar[DeathReason]
    DEATH_REASON_TIME_LIMIT_EXCEEDED: _ClassVar[DeathReason]
    DEATH_REASON_STUCK_TASK_TIMEOUT: _ClassVar[DeathReason]
    DEATH_REASON_CRASH_LOOP: _ClassVar[DeathReason]
    DEATH_REASON_GAVE_UP: _ClassVar[DeathReason]

class Resolution(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESOLUTION_UNSPECIFIED: _ClassVar[Resolution]
    RESOLUTION_OPEN: _ClassVar[Resolution]
    RESOLUTION_REDRIVEN: _ClassVar[Resolution]
    RESOLUTION_DISCARDED: _ClassVar[Resolution]
DEATH_REASON_UNSPECIFIED: DeathReason
DEATH_REASON_MAX_RETRIES_EXCEEDED: DeathReason
DEATH_REASON_NOT_RETRYABLE: DeathReason
DEATH_REASON_AGE_LIMIT_EXCEEDED: DeathReason
DEATH_REASON_TIME_LIMIT_EXCEEDED: DeathReason
DEATH_REASON_STUCK_TASK_TIMEOUT: DeathReason
DEATH_REASON_CRASH_LOOP: DeathReason
DEATH_REASON_GAVE_UP: DeathReason
RESOLUTION_UNSPECIFIED: Resolution
RESOLUTION_OPEN: Resolution
RESOLUTION_REDRIVEN: Resolution
RESOLUTION_DISCARDED: Resolution

class DeadLetter(_message.Message):
    __slots__ = ("id", "task_id", "actor", "queue", "attempt", "reason", "error", "hidden", "fingerprint", "died_at", "resolution", "resolved_by", "resolved_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    DIED_AT_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_BY_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    task_id: str
    actor: str
    queue: str
    attempt: int
    reason: DeathReason
    error: _task_pb2.TaskError
    hidden: _containers.RepeatedScalarFieldContainer[str]
    fingerprint: str
    died_at: _timestamp_pb2.Timestamp
    resolution: Resolution
    resolved_by: str
    resolved_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., task_id: _Optional[str] = ..., actor: _Optional[str] = ..., queue: _Optional[str] = ..., attempt: _Optional[int] = ..., reason: _Optional[_Union[DeathReason, str]] = ..., error: _Optional[_Union[_task_pb2.TaskError, _Mapping]] = ..., hidden: _Optional[_Iterable[str]] = ..., fingerprint: _Optional[str] = ..., died_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., resolution: _Optional[_Union[Resolution, str]] = ..., resolved_by: _Optional[str] = ..., resolved_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("reason", "resolution", "actor", "queue", "task", "limit", "cursor", "failure")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    reason: DeathReason
    resolution: Resolution
    actor: str
    queue: str
    task: str
    limit: int
    cursor: str
    failure: str
    def __init__(self, reason: _Optional[_Union[DeathReason, str]] = ..., resolution: _Optional[_Union[Resolution, str]] = ..., actor: _Optional[str] = ..., queue: _Optional[str] = ..., task: _Optional[str] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ..., failure: _Optional[str] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("dead_letters", "next_cursor", "previous_cursor", "searched")
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_CURSOR_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_FIELD_NUMBER: _ClassVar[int]
    dead_letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    next_cursor: str
    previous_cursor: str
    searched: _task_pb2.Searched
    def __init__(self, dead_letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., previous_cursor: _Optional[str] = ..., searched: _Optional[_Union[_task_pb2.Searched, _Mapping]] = ...) -> None: ...

class GetDeadLetterRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetDeadLetterResponse(_message.Message):
    __slots__ = ("dead_letter",)
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    dead_letter: DeadLetter
    def __init__(self, dead_letter: _Optional[_Union[DeadLetter, _Mapping]] = ...) -> None: ...

class RedriveDeadLetterRequest(_message.Message):
    __slots__ = ("id", "reason", "payload")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    payload: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ..., payload: _Optional[str] = ...) -> None: ...

class RedriveDeadLetterResponse(_message.Message):
    __slots__ = ("dead_letter", "task_status")
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    TASK_STATUS_FIELD_NUMBER: _ClassVar[int]
    dead_letter: DeadLetter
    task_status: _task_pb2.TaskStatus
    def __init__(self, dead_letter: _Optional[_Union[DeadLetter, _Mapping]] = ..., task_status: _Optional[_Union[_task_pb2.TaskStatus, str]] = ...) -> None: ...

class DiscardDeadLetterRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DiscardDeadLetterResponse(_message.Message):
    __slots__ = ("dead_letter",)
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    dead_letter: DeadLetter
    def __init__(self, dead_letter: _Optional[_Union[DeadLetter, _Mapping]] = ...) -> None: ...

class RestoreDeadLetterRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RestoreDeadLetterResponse(_message.Message):
    __slots__ = ("dead_letter",)
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    dead_letter: DeadLetter
    def __init__(self, dead_letter: _Optional[_Union[DeadLetter, _Mapping]] = ...) -> None: ...
