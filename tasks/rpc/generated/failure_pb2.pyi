import datetime

from tasks.rpc.generated import task_pb2 as _task_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Failure(_message.Message):
    __slots__ = ("fingerprint", "actor", "error", "hidden", "frame", "first_seen_at", "last_seen_at", "open", "total", "assignee", "note", "snoozed_until", "snoozed_until_new_build", "first_build", "last_build")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    ASSIGNEE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    SNOOZED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    SNOOZED_UNTIL_NEW_BUILD_FIELD_NUMBER: _ClassVar[int]
    FIRST_BUILD_FIELD_NUMBER: _ClassVar[int]
    LAST_BUILD_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    actor: str
    error: _task_pb2.TaskError
    hidden: _containers.RepeatedScalarFieldContainer[str]
    frame: str
    first_seen_at: _timestamp_pb2.Timestamp
    last_seen_at: _timestamp_pb2.Timestamp
    open: int
    total: int
    assignee: str
    note: str
    snoozed_until: _timestamp_pb2.Timestamp
    snoozed_until_new_build: bool
    first_build: str
    last_build: str
    def __init__(self, fingerprint: _Optional[str] = ..., actor: _Optional[str] = ..., error: _Optional[_Union[_task_pb2.TaskError, _Mapping]] = ..., hidden: _Optional[_Iterable[str]] = ..., frame: _Optional[str] = ..., first_seen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_seen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., open: _Optional[int] = ..., total: _Optional[int] = ..., assignee: _Optional[str] = ..., note: _Optional[str] = ..., snoozed_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., snoozed_until_new_build: _Optional[bool] = ..., first_build: _Optional[str] = ..., last_build: _Optional[str] = ...) -> None: ...

class Trait(_message.Message):
    __slots__ = ("kind", "name", "value", "count")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    value: str
    count: int
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., value: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ListFailuresRequest(_message.Message):
    __slots__ = ("actor", "error_type", "assignee", "open", "snoozed", "limit")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    ASSIGNEE_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    SNOOZED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    actor: str
    error_type: str
    assignee: str
    open: bool
    snoozed: bool
    limit: int
    def __init__(self, actor: _Optional[str] = ..., error_type: _Optional[str] = ..., assignee: _Optional[str] = ..., open: _Optional[bool] = ..., snoozed: _Optional[bool] = ..., limit: _Optional[int] = ...) -> None: ...

class ListFailuresResponse(_message.Message):
    __slots__ = ("failures", "is_capped")
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    IS_CAPPED_FIELD_NUMBER: _ClassVar[int]
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    is_capped: bool
    def __init__(self, failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ..., is_capped: _Optional[bool] = ...) -> None: ...

class GetFailureRequest(_message.Message):
    __slots__ = ("fingerprint",)
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    def __init__(self, fingerprint: _Optional[str] = ...) -> None: ...

class GetFailureResponse(_message.Message):
    __slots__ = ("failure", "compared", "in_common", "deaths_per_minute")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    IN_COMMON_FIELD_NUMBER: _ClassVar[int]
    DEATHS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    compared: int
    in_common: _containers.RepeatedCompositeFieldContainer[Trait]
    deaths_per_minute: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ..., compared: _Optional[int] = ..., in_common: _Optional[_Iterable[_Union[Trait, _Mapping]]] = ..., deaths_per_minute: _Optional[_Iterable[int]] = ...) -> None: ...

class ChangeFailureRequest(_message.Message):
    __slots__ = ("fingerprint", "assignee", "note", "snoozed_until", "clear", "reason", "snoozed_until_new_build")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    ASSIGNEE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    SNOOZED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SNOOZED_UNTIL_NEW_BUILD_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    assignee: str
    note: str
    snoozed_until: _timestamp_pb2.Timestamp
    clear: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    snoozed_until_new_build: bool
    def __init__(self, fingerprint: _Optional[str] = ..., assignee: _Optional[str] = ..., note: _Optional[str] = ..., snoozed_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., clear: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ..., snoozed_until_new_build: _Optional[bool] = ...) -> None: ...

class ChangeFailureResponse(_message.Message):
    __slots__ = ("failure",)
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...
