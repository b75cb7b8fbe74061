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

class OperationVerb(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_VERB_UNSPECIFIED: _ClassVar[OperationVerb]
    OPERATION_VERB_RETRY: _ClassVar[OperationVerb]
    OPERATION_VERB_CANCEL: _ClassVar[OperationVerb]
    OPERATION_VERB_EDIT: _ClassVar[OperationVerb]
    OPERATION_VERB_REQUEUE: _ClassVar[OperationVerb]
    OPERATION_VERB_REDRIVE: _ClassVar[OperationVerb]
    OPERATION_VERB_DISCARD: _ClassVar[OperationVerb]
    OPERATION_VERB_RESTORE: _ClassVar[OperationVerb]

class OperationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_STATE_UNSPECIFIED: _ClassVar[OperationState]
    OPERATION_STATE_PREVIEW: _ClassVar[OperationState]
    OPERATION_STATE_CANARY: _ClassVar[OperationState]
    OPERATION_STATE_RUNNING: _ClassVar[OperationState]
    OPERATION_STATE_PAUSED: _ClassVar[OperationState]
    OPERATION_STATE_STOPPED: _ClassVar[OperationState]
    OPERATION_STATE_DONE: _ClassVar[OperationState]
    OPERATION_STATE_CANCELLED: _ClassVar[OperationState]

class ItemState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ITEM_STATE_UNSPECIFIED: _ClassVar[ItemState]
    ITEM_STATE_WAITING: _ClassVar[ItemState]
    ITEM_STATE_MOVED: _ClassVar[ItemState]
    ITEM_STATE_SKIPPED: _ClassVar[ItemState]
    ITEM_STATE_SUCCEEDED: _ClassVar[ItemState]
    ITEM_STATE_DIED: _ClassVar[ItemState]
    ITEM_STATE_ENDED: _ClassVar[ItemState]
OPERATION_VERB_UNSPECIFIED: OperationVerb
OPERATION_VERB_RETRY: OperationVerb
OPERATION_VERB_CANCEL: OperationVerb
OPERATION_VERB_EDIT: OperationVerb
OPERATION_VERB_REQUEUE: OperationVerb
OPERATION_VERB_REDRIVE: OperationVerb
OPERATION_VERB_DISCARD: OperationVerb
OPERATION_VERB_RESTORE: OperationVerb
OPERATION_STATE_UNSPECIFIED: OperationState
OPERATION_STATE_PREVIEW: OperationState
OPERATION_STATE_CANARY: OperationState
OPERATION_STATE_RUNNING: OperationState
OPERATION_STATE_PAUSED: OperationState
OPERATION_STATE_STOPPED: OperationState
OPERATION_STATE_DONE: OperationState
OPERATION_STATE_CANCELLED: OperationState
ITEM_STATE_UNSPECIFIED: ItemState
ITEM_STATE_WAITING: ItemState
ITEM_STATE_MOVED: ItemState
ITEM_STATE_SKIPPED: ItemState
ITEM_STATE_SUCCEEDED: ItemState
ITEM_STATE_DIED: ItemState
ITEM_STATE_ENDED: ItemState

class Values(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("id", "verb", "state", "by", "reason", "filter", "failure", "change", "rate_per_second", "canary", "stop_percent", "note", "total", "is_capped", "left", "moved", "skipped", "skips", "running", "succeeded", "died_again", "ended", "errors", "created_at", "started_at", "ended_at")
    class FilterEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Values
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Values, _Mapping]] = ...) -> None: ...
    class SkipsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    RATE_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    STOP_PERCENT_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    IS_CAPPED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    SKIPS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    DIED_AGAIN_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    verb: OperationVerb
    state: OperationState
    by: str
    reason: str
    filter: _containers.MessageMap[str, Values]
    failure: str
    change: _task_pb2.TaskChange
    rate_per_second: float
    canary: int
    stop_percent: int
    note: str
    total: int
    is_capped: bool
    left: int
    moved: int
    skipped: int
    skips: _containers.ScalarMap[str, int]
    running: int
    succeeded: int
    died_again: int
    ended: int
    errors: int
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., verb: _Optional[_Union[OperationVerb, str]] = ..., state: _Optional[_Union[OperationState, str]] = ..., by: _Optional[str] = ..., reason: _Optional[str] = ..., filter: _Optional[_Mapping[str, Values]] = ..., failure: _Optional[str] = ..., change: _Optional[_Union[_task_pb2.TaskChange, _Mapping]] = ..., rate_per_second: _Optional[float] = ..., canary: _Optional[int] = ..., stop_percent: _Optional[int] = ..., note: _Optional[str] = ..., total: _Optional[int] = ..., is_capped: _Optional[bool] = ..., left: _Optional[int] = ..., moved: _Optional[int] = ..., skipped: _Optional[int] = ..., skips: _Optional[_Mapping[str, int]] = ..., running: _Optional[int] = ..., succeeded: _Optional[int] = ..., died_again: _Optional[int] = ..., ended: _Optional[int] = ..., errors: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OperationItem(_message.Message):
    __slots__ = ("id", "task_id", "state", "note", "moved_at", "ended_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    MOVED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    task_id: str
    state: ItemState
    note: str
    moved_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., task_id: _Optional[str] = ..., state: _Optional[_Union[ItemState, str]] = ..., note: _Optional[str] = ..., moved_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BeginOperationRequest(_message.Message):
    __slots__ = ("verb", "filter", "ids", "change", "rate_per_second", "canary", "stop_percent", "preview", "reason")
    class FilterEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Values
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Values, _Mapping]] = ...) -> None: ...
    VERB_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    RATE_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    STOP_PERCENT_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    verb: OperationVerb
    filter: _containers.MessageMap[str, Values]
    ids: _containers.RepeatedScalarFieldContainer[str]
    change: _task_pb2.TaskChange
    rate_per_second: float
    canary: int
    stop_percent: int
    preview: bool
    reason: str
    def __init__(self, verb: _Optional[_Union[OperationVerb, str]] = ..., filter: _Optional[_Mapping[str, Values]] = ..., ids: _Optional[_Iterable[str]] = ..., change: _Optional[_Union[_task_pb2.TaskChange, _Mapping]] = ..., rate_per_second: _Optional[float] = ..., canary: _Optional[int] = ..., stop_percent: _Optional[int] = ..., preview: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class BeginOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ListOperationsRequest(_message.Message):
    __slots__ = ("state", "verb", "by", "failure", "limit", "cursor")
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    state: _containers.RepeatedScalarFieldContainer[OperationState]
    verb: OperationVerb
    by: str
    failure: str
    limit: int
    cursor: str
    def __init__(self, state: _Optional[_Iterable[_Union[OperationState, str]]] = ..., verb: _Optional[_Union[OperationVerb, str]] = ..., by: _Optional[str] = ..., failure: _Optional[str] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class ListOperationsResponse(_message.Message):
    __slots__ = ("operations", "next_cursor", "previous_cursor")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_CURSOR_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    next_cursor: str
    previous_cursor: str
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., previous_cursor: _Optional[str] = ...) -> None: ...

class GetOperationRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ChangeOperationRequest(_message.Message):
    __slots__ = ("id", "rate_per_second", "stop_percent", "clear", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    RATE_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    STOP_PERCENT_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    rate_per_second: float
    stop_percent: int
    clear: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    def __init__(self, id: _Optional[str] = ..., rate_per_second: _Optional[float] = ..., stop_percent: _Optional[int] = ..., clear: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ...) -> None: ...

class ChangeOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ListOperationItemsRequest(_message.Message):
    __slots__ = ("id", "state", "limit", "cursor")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: _containers.RepeatedScalarFieldContainer[ItemState]
    limit: int
    cursor: str
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Iterable[_Union[ItemState, str]]] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class ListOperationItemsResponse(_message.Message):
    __slots__ = ("items", "next_cursor", "previous_cursor")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_CURSOR_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[OperationItem]
    next_cursor: str
    previous_cursor: str
    def __init__(self, items: _Optional[_Iterable[_Union[OperationItem, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., previous_cursor: _Optional[str] = ...) -> None: ...

class PauseOperationRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class PauseOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ResumeOperationRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ResumeOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class CancelOperationRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class UndoOperationRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class UndoOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...
