import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Door(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DOOR_UNSPECIFIED: _ClassVar[Door]
    DOOR_ADMIN: _ClassVar[Door]
    DOOR_API: _ClassVar[Door]
    DOOR_GRPC: _ClassVar[Door]
    DOOR_CLI: _ClassVar[Door]
    DOOR_CODE: _ClassVar[Door]
    DOOR_SCHEDULER: _ClassVar[Door]
    DOOR_WORKER: _ClassVar[Door]

class ObjectKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OBJECT_KIND_UNSPECIFIED: _ClassVar[ObjectKind]
    OBJECT_KIND_TASK: _ClassVar[ObjectKind]
    OBJECT_KIND_DEAD_LETTER: _ClassVar[ObjectKind]
    OBJECT_KIND_QUEUE: _ClassVar[ObjectKind]
    OBJECT_KIND_WORKER: _ClassVar[ObjectKind]
    OBJECT_KIND_TOKEN: _ClassVar[ObjectKind]
    OBJECT_KIND_SCHEDULE: _ClassVar[ObjectKind]
    OBJECT_KIND_BATCH: _ClassVar[ObjectKind]
    OBJECT_KIND_FAILURE: _ClassVar[ObjectKind]
    OBJECT_KIND_OPERATION: _ClassVar[ObjectKind]
    OBJECT_KIND_BUILD: _ClassVar[ObjectKind]
DOOR_UNSPECIFIED: Door
DOOR_ADMIN: Door
DOOR_API: Door
DOOR_GRPC: Door
DOOR_CLI: Door
DOOR_CODE: Door
DOOR_SCHEDULER: Door
DOOR_WORKER: Door
OBJECT_KIND_UNSPECIFIED: ObjectKind
OBJECT_KIND_TASK: ObjectKind
OBJECT_KIND_DEAD_LETTER: ObjectKind
OBJECT_KIND_QUEUE: ObjectKind
OBJECT_KIND_WORKER: ObjectKind
OBJECT_KIND_TOKEN: ObjectKind
OBJECT_KIND_SCHEDULE: ObjectKind
OBJECT_KIND_BATCH: ObjectKind
OBJECT_KIND_FAILURE: ObjectKind
OBJECT_KIND_OPERATION: ObjectKind
OBJECT_KIND_BUILD: ObjectKind

class JournalEntry(_message.Message):
    __slots__ = ("id", "verb", "by", "door", "reason", "at", "detail", "kind", "object", "name", "task_id", "actor", "queue", "operation_id", "count")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    DOOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    id: int
    verb: str
    by: str
    door: Door
    reason: str
    at: _timestamp_pb2.Timestamp
    detail: str
    kind: ObjectKind
    object: str
    name: str
    task_id: str
    actor: str
    queue: str
    operation_id: str
    count: int
    def __init__(self, id: _Optional[int] = ..., verb: _Optional[str] = ..., by: _Optional[str] = ..., door: _Optional[_Union[Door, str]] = ..., reason: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., detail: _Optional[str] = ..., kind: _Optional[_Union[ObjectKind, str]] = ..., object: _Optional[str] = ..., name: _Optional[str] = ..., task_id: _Optional[str] = ..., actor: _Optional[str] = ..., queue: _Optional[str] = ..., operation_id: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ListJournalRequest(_message.Message):
    __slots__ = ("verb", "by", "door", "kind", "object", "operation", "after", "before", "limit", "cursor")
    VERB_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    DOOR_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    verb: str
    by: str
    door: _containers.RepeatedScalarFieldContainer[Door]
    kind: _containers.RepeatedScalarFieldContainer[ObjectKind]
    object: str
    operation: str
    after: _timestamp_pb2.Timestamp
    before: _timestamp_pb2.Timestamp
    limit: int
    cursor: str
    def __init__(self, verb: _Optional[str] = ..., by: _Optional[str] = ..., door: _Optional[_Iterable[_Union[Door, str]]] = ..., kind: _Optional[_Iterable[_Union[ObjectKind, str]]] = ..., object: _Optional[str] = ..., operation: _Optional[str] = ..., after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class ListJournalResponse(_message.Message):
    __slots__ = ("entries", "next_cursor", "previous_cursor")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_CURSOR_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[JournalEntry]
    next_cursor: str
    previous_cursor: str
    def __init__(self, entries: _Optional[_Iterable[_Union[JournalEntry, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., previous_cursor: _Optional[str] = ...) -> None: ...
