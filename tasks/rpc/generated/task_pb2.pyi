import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_STATUS_UNSPECIFIED: _ClassVar[TaskStatus]
    TASK_STATUS_BLOCKED: _ClassVar[TaskStatus]
    TASK_STATUS_PENDING: _ClassVar[TaskStatus]
    TASK_STATUS_QUEUED: _ClassVar[TaskStatus]
    TASK_STATUS_RUNNING: _ClassVar[TaskStatus]
    TASK_STATUS_RETRYING: _ClassVar[TaskStatus]
    TASK_STATUS_SUCCEEDED: _ClassVar[TaskStatus]
    TASK_STATUS_DEAD: _ClassVar[TaskStatus]
    TASK_STATUS_CANCELLED: _ClassVar[TaskStatus]
    TASK_STATUS_REMOVED: _ClassVar[TaskStatus]

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_TYPE_UNSPECIFIED: _ClassVar[EventType]
    EVENT_TYPE_SUBMITTED: _ClassVar[EventType]
    EVENT_TYPE_ATTEMPT: _ClassVar[EventType]
    EVENT_TYPE_ACT: _ClassVar[EventType]
    EVENT_TYPE_PROGRESS: _ClassVar[EventType]
    EVENT_TYPE_STATUS: _ClassVar[EventType]
    EVENT_TYPE_REMOVED: _ClassVar[EventType]

class AttemptOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ATTEMPT_OUTCOME_UNSPECIFIED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_SUCCEEDED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_FAILED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_TIMED_OUT: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_SNOOZED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_INTERRUPTED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_CANCELLED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_CRASHED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_LOST: _ClassVar[AttemptOutcome]

class Band(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BAND_UNSPECIFIED: _ClassVar[Band]
    BAND_HIGH: _ClassVar[Band]
    BAND_MEDIUM: _ClassVar[Band]
    BAND_LOW: _ClassVar[Band]

class OnFailure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_FAILURE_UNSPECIFIED: _ClassVar[OnFailure]
    ON_FAILURE_CANCEL: _ClassVar[OnFailure]
    ON_FAILURE_RUN: _ClassVar[OnFailure]
    ON_FAILURE_BLOCK: _ClassVar[OnFailure]

class EdgeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EDGE_STATE_UNSPECIFIED: _ClassVar[EdgeState]
    EDGE_STATE_NEW: _ClassVar[EdgeState]
    EDGE_STATE_OPEN: _ClassVar[EdgeState]
    EDGE_STATE_MET: _ClassVar[EdgeState]
    EDGE_STATE_FAILED: _ClassVar[EdgeState]

class UniqueUntil(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNIQUE_UNTIL_UNSPECIFIED: _ClassVar[UniqueUntil]
    UNIQUE_UNTIL_STARTED: _ClassVar[UniqueUntil]
    UNIQUE_UNTIL_FINISHED: _ClassVar[UniqueUntil]

class UniqueOnConflict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNIQUE_ON_CONFLICT_UNSPECIFIED: _ClassVar[UniqueOnConflict]
    UNIQUE_ON_CONFLICT_RETURN: _ClassVar[UniqueOnConflict]
    UNIQUE_ON_CONFLICT_REPLACE: _ClassVar[UniqueOnConflict]
    UNIQUE_ON_CONFLICT_REJECT: _ClassVar[UniqueOnConflict]
TASK_STATUS_UNSPECIFIED: TaskStatus
TASK_STATUS_BLOCKED: TaskStatus
TASK_STATUS_PENDING: TaskStatus
TASK_STATUS_QUEUED: TaskStatus
TASK_STATUS_RUNNING: TaskStatus
TASK_STATUS_RETRYING: TaskStatus
TASK_STATUS_SUCCEEDED: TaskStatus
TASK_STATUS_DEAD: TaskStatus
TASK_STATUS_CANCELLED: TaskStatus
TASK_STATUS_REMOVED: TaskStatus
EVENT_TYPE_UNSPECIFIED: EventType
EVENT_TYPE_SUBMITTED: EventType
EVENT_TYPE_ATTEMPT: EventType
EVENT_TYPE_ACT: EventType
EVENT_TYPE_PROGRESS: EventType
EVENT_TYPE_STATUS: EventType
EVENT_TYPE_REMOVED: EventType
ATTEMPT_OUTCOME_UNSPECIFIED: AttemptOutcome
ATTEMPT_OUTCOME_SUCCEEDED: AttemptOutcome
ATTEMPT_OUTCOME_FAILED: AttemptOutcome
ATTEMPT_OUTCOME_TIMED_OUT: AttemptOutcome
ATTEMPT_OUTCOME_SNOOZED: AttemptOutcome
ATTEMPT_OUTCOME_INTERRUPTED: AttemptOutcome
ATTEMPT_OUTCOME_CANCELLED: AttemptOutcome
ATTEMPT_OUTCOME_CRASHED: AttemptOutcome
ATTEMPT_OUTCOME_LOST: AttemptOutcome
BAND_UNSPECIFIED: Band
BAND_HIGH: Band
BAND_MEDIUM: Band
BAND_LOW: Band
ON_FAILURE_UNSPECIFIED: OnFailure
ON_FAILURE_CANCEL: OnFailure
ON_FAILURE_RUN: OnFailure
ON_FAILURE_BLOCK: OnFailure
EDGE_STATE_UNSPECIFIED: EdgeState
EDGE_STATE_NEW: EdgeState
EDGE_STATE_OPEN: EdgeState
EDGE_STATE_MET: EdgeState
EDGE_STATE_FAILED: EdgeState
UNIQUE_UNTIL_UNSPECIFIED: UniqueUntil
UNIQUE_UNTIL_STARTED: UniqueUntil
UNIQUE_UNTIL_FINISHED: UniqueUntil
UNIQUE_ON_CONFLICT_UNSPECIFIED: UniqueOnConflict
UNIQUE_ON_CONFLICT_RETURN: UniqueOnConflict
UNIQUE_ON_CONFLICT_REPLACE: UniqueOnConflict
UNIQUE_ON_CONFLICT_REJECT: UniqueOnConflict

class Dependency(_message.Message):
    __slots__ = ("id", "ref", "batch", "on_failure", "state")
    ID_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    ON_FAILURE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    id: str
    ref: str
    batch: str
    on_failure: OnFailure
    state: EdgeState
    def __init__(self, id: _Optional[str] = ..., ref: _Optional[str] = ..., batch: _Optional[str] = ..., on_failure: _Optional[_Union[OnFailure, str]] = ..., state: _Optional[_Union[EdgeState, str]] = ...) -> None: ...

class Unique(_message.Message):
    __slots__ = ("key", "until", "ttl_seconds", "on_conflict", "max_wait_seconds", "outcome")
    KEY_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ON_CONFLICT_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    key: str
    until: UniqueUntil
    ttl_seconds: float
    on_conflict: UniqueOnConflict
    max_wait_seconds: float
    outcome: str
    def __init__(self, key: _Optional[str] = ..., until: _Optional[_Union[UniqueUntil, str]] = ..., ttl_seconds: _Optional[float] = ..., on_conflict: _Optional[_Union[UniqueOnConflict, str]] = ..., max_wait_seconds: _Optional[float] = ..., outcome: _Optional[str] = ...) -> None: ...

class NewTask(_message.Message):
    __slots__ = ("actor", "payload", "priority", "queue", "run_at", "delay_seconds", "max_retries", "min_backoff_seconds", "max_backoff_seconds", "retry_for_seconds", "time_limit_seconds", "max_age_seconds", "estimated_seconds", "tags", "depends_on", "ref", "unique", "concurrency_key", "fairness_key", "batch")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    RUN_AT_FIELD_NUMBER: _ClassVar[int]
    DELAY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    MIN_BACKOFF_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_BACKOFF_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RETRY_FOR_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    actor: str
    payload: str
    priority: int
    queue: str
    run_at: _timestamp_pb2.Timestamp
    delay_seconds: float
    max_retries: int
    min_backoff_seconds: float
    max_backoff_seconds: float
    retry_for_seconds: float
    time_limit_seconds: float
    max_age_seconds: float
    estimated_seconds: float
    tags: _containers.RepeatedScalarFieldContainer[str]
    depends_on: _containers.RepeatedCompositeFieldContainer[Dependency]
    ref: str
    unique: Unique
    concurrency_key: str
    fairness_key: str
    batch: str
    def __init__(self, actor: _Optional[str] = ..., payload: _Optional[str] = ..., priority: _Optional[int] = ..., queue: _Optional[str] = ..., run_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., delay_seconds: _Optional[float] = ..., max_retries: _Optional[int] = ..., min_backoff_seconds: _Optional[float] = ..., max_backoff_seconds: _Optional[float] = ..., retry_for_seconds: _Optional[float] = ..., time_limit_seconds: _Optional[float] = ..., max_age_seconds: _Optional[float] = ..., estimated_seconds: _Optional[float] = ..., tags: _Optional[_Iterable[str]] = ..., depends_on: _Optional[_Iterable[_Union[Dependency, _Mapping]]] = ..., ref: _Optional[str] = ..., unique: _Optional[_Union[Unique, _Mapping]] = ..., concurrency_key: _Optional[str] = ..., fairness_key: _Optional[str] = ..., batch: _Optional[str] = ...) -> None: ...

class TaskError(_message.Message):
    __slots__ = ("type", "message", "traceback")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    traceback: str
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ...) -> None: ...

class Obstacle(_message.Message):
    __slots__ = ("kind", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    message: str
    def __init__(self, kind: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "status", "band", "actor", "payload", "priority", "queue", "run_at", "max_retries", "min_backoff_seconds", "max_backoff_seconds", "retry_for_seconds", "time_limit_seconds", "max_age_seconds", "estimated_seconds", "tags", "expected_start_seconds", "attempt", "failures", "crashes", "result", "progress", "checkpointed_at", "error", "hidden", "created_at", "queued_at", "started_at", "finished_at", "cancel_requested_at", "trace_id", "schedule_id", "scheduled_at", "depends_on", "cause_id", "cause", "waiting_for", "idempotency_key", "unique", "concurrency_key", "fairness_key", "batch")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BAND_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    RUN_AT_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    MIN_BACKOFF_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_BACKOFF_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RETRY_FOR_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_START_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    CRASHES_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_AT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_ID_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_AT_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    CAUSE_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: TaskStatus
    band: Band
    actor: str
    payload: str
    priority: int
    queue: str
    run_at: _timestamp_pb2.Timestamp
    max_retries: int
    min_backoff_seconds: float
    max_backoff_seconds: float
    retry_for_seconds: float
    time_limit_seconds: float
    max_age_seconds: float
    estimated_seconds: float
    tags: _containers.RepeatedScalarFieldContainer[str]
    expected_start_seconds: float
    attempt: int
    failures: int
    crashes: int
    result: str
    progress: str
    checkpointed_at: _timestamp_pb2.Timestamp
    error: TaskError
    hidden: _containers.RepeatedScalarFieldContainer[str]
    created_at: _timestamp_pb2.Timestamp
    queued_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    cancel_requested_at: _timestamp_pb2.Timestamp
    trace_id: str
    schedule_id: str
    scheduled_at: _timestamp_pb2.Timestamp
    depends_on: _containers.RepeatedCompositeFieldContainer[Dependency]
    cause_id: str
    cause: str
    waiting_for: _containers.RepeatedCompositeFieldContainer[Obstacle]
    idempotency_key: str
    unique: Unique
    concurrency_key: str
    fairness_key: str
    batch: str
    def __init__(self, id: _Optional[str] = ..., status: _Optional[_Union[TaskStatus, str]] = ..., band: _Optional[_Union[Band, str]] = ..., actor: _Optional[str] = ..., payload: _Optional[str] = ..., priority: _Optional[int] = ..., queue: _Optional[str] = ..., run_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., max_retries: _Optional[int] = ..., min_backoff_seconds: _Optional[float] = ..., max_backoff_seconds: _Optional[float] = ..., retry_for_seconds: _Optional[float] = ..., time_limit_seconds: _Optional[float] = ..., max_age_seconds: _Optional[float] = ..., estimated_seconds: _Optional[float] = ..., tags: _Optional[_Iterable[str]] = ..., expected_start_seconds: _Optional[float] = ..., attempt: _Optional[int] = ..., failures: _Optional[int] = ..., crashes: _Optional[int] = ..., result: _Optional[str] = ..., progress: _Optional[str] = ..., checkpointed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[_Union[TaskError, _Mapping]] = ..., hidden: _Optional[_Iterable[str]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., queued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cancel_requested_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trace_id: _Optional[str] = ..., schedule_id: _Optional[str] = ..., scheduled_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., depends_on: _Optional[_Iterable[_Union[Dependency, _Mapping]]] = ..., cause_id: _Optional[str] = ..., cause: _Optional[str] = ..., waiting_for: _Optional[_Iterable[_Union[Obstacle, _Mapping]]] = ..., idempotency_key: _Optional[str] = ..., unique: _Optional[_Union[Unique, _Mapping]] = ..., concurrency_key: _Optional[str] = ..., fairness_key: _Optional[str] = ..., batch: _Optional[str] = ...) -> None: ...

class Searched(_message.Message):
    __slots__ = ("is_complete", "until")
    IS_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    is_complete: bool
    until: _timestamp_pb2.Timestamp
    def __init__(self, is_complete: _Optional[bool] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SubmitTaskRequest(_message.Message):
    __slots__ = ("task", "idempotency_key")
    TASK_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    task: NewTask
    idempotency_key: str
    def __init__(self, task: _Optional[_Union[NewTask, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SubmitTaskResponse(_message.Message):
    __slots__ = ("task", "replayed")
    TASK_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    task: Task
    replayed: bool
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class SubmitTasksRequest(_message.Message):
    __slots__ = ("tasks", "idempotency_key", "spread_seconds")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    SPREAD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[NewTask]
    idempotency_key: str
    spread_seconds: float
    def __init__(self, tasks: _Optional[_Iterable[_Union[NewTask, _Mapping]]] = ..., idempotency_key: _Optional[str] = ..., spread_seconds: _Optional[float] = ...) -> None: ...

class SubmitTasksResponse(_message.Message):
    __slots__ = ("tasks", "replayed", "error")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    replayed: bool
    error: _status_pb2.Status
    def __init__(self, tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., replayed: _Optional[bool] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class GetTaskRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: Task
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ...) -> None: ...

class ListTasksRequest(_message.Message):
    __slots__ = ("status", "actor", "queue", "band", "priority", "tag", "schedule", "created_after", "created_before", "run_after", "run_before", "search", "limit", "cursor", "batch", "error_type", "payload", "waiting_for")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    BAND_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    RUN_AFTER_FIELD_NUMBER: _ClassVar[int]
    RUN_BEFORE_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    status: _containers.RepeatedScalarFieldContainer[TaskStatus]
    actor: str
    queue: str
    band: Band
    priority: int
    tag: str
    schedule: str
    created_after: _timestamp_pb2.Timestamp
    created_before: _timestamp_pb2.Timestamp
    run_after: _timestamp_pb2.Timestamp
    run_before: _timestamp_pb2.Timestamp
    search: str
    limit: int
    cursor: str
    batch: str
    error_type: str
    payload: _containers.RepeatedScalarFieldContainer[str]
    waiting_for: str
    def __init__(self, status: _Optional[_Iterable[_Union[TaskStatus, str]]] = ..., actor: _Optional[str] = ..., queue: _Optional[str] = ..., band: _Optional[_Union[Band, str]] = ..., priority: _Optional[int] = ..., tag: _Optional[str] = ..., schedule: _Optional[str] = ..., created_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., run_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., run_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., search: _Optional[str] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ..., batch: _Optional[str] = ..., error_type: _Optional[str] = ..., payload: _Optional[_Iterable[str]] = ..., waiting_for: _Optional[str] = ...) -> None: ...

class ListTasksResponse(_message.Message):
    __slots__ = ("tasks", "next_cursor", "previous_cursor", "searched")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_CURSOR_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    next_cursor: str
    previous_cursor: str
    searched: Searched
    def __init__(self, tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., previous_cursor: _Optional[str] = ..., searched: _Optional[_Union[Searched, _Mapping]] = ...) -> None: ...

class CancelTaskRequest(_message.Message):
    __slots__ = ("id", "reason", "workflow")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    workflow: bool
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ..., workflow: _Optional[bool] = ...) -> None: ...

class CancelTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: Task
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ...) -> None: ...

class RetryTaskRequest(_message.Message):
    __slots__ = ("id", "reason", "workflow")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    workflow: bool
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ..., workflow: _Optional[bool] = ...) -> None: ...

class RetryTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: Task
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ...) -> None: ...

class TaskChange(_message.Message):
    __slots__ = ("priority", "queue", "run_at", "payload", "max_retries", "tags", "clear_tags")
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    RUN_AT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    CLEAR_TAGS_FIELD_NUMBER: _ClassVar[int]
    priority: int
    queue: str
    run_at: _timestamp_pb2.Timestamp
    payload: str
    max_retries: int
    tags: _containers.RepeatedScalarFieldContainer[str]
    clear_tags: bool
    def __init__(self, priority: _Optional[int] = ..., queue: _Optional[str] = ..., run_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., payload: _Optional[str] = ..., max_retries: _Optional[int] = ..., tags: _Optional[_Iterable[str]] = ..., clear_tags: _Optional[bool] = ...) -> None: ...

class EditTaskRequest(_message.Message):
    __slots__ = ("id", "change", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    change: TaskChange
    reason: str
    def __init__(self, id: _Optional[str] = ..., change: _Optional[_Union[TaskChange, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class EditTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: Task
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ...) -> None: ...

class DeleteTaskRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DeleteTaskResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SignalTaskRequest(_message.Message):
    __slots__ = ("id", "signal", "payload", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    signal: str
    payload: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., signal: _Optional[str] = ..., payload: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SignalTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: Task
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("at", "line")
    AT_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    line: str
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., line: _Optional[str] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("number", "outcome", "worker_id", "started_at", "finished_at", "error", "log", "log_dropped", "note", "hidden")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    LOG_DROPPED_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    number: int
    outcome: AttemptOutcome
    worker_id: str
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    error: TaskError
    log: _containers.RepeatedCompositeFieldContainer[LogLine]
    log_dropped: int
    note: str
    hidden: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, number: _Optional[int] = ..., outcome: _Optional[_Union[AttemptOutcome, str]] = ..., worker_id: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[_Union[TaskError, _Mapping]] = ..., log: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ..., log_dropped: _Optional[int] = ..., note: _Optional[str] = ..., hidden: _Optional[_Iterable[str]] = ...) -> None: ...

class ListAttemptsRequest(_message.Message):
    __slots__ = ("id", "limit", "cursor")
    ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    id: str
    limit: int
    cursor: str
    def __init__(self, id: _Optional[str] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class ListAttemptsResponse(_message.Message):
    __slots__ = ("attempts", "next_cursor", "previous_cursor")
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_CURSOR_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    next_cursor: str
    previous_cursor: str
    def __init__(self, attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., previous_cursor: _Optional[str] = ...) -> None: ...

class WorkflowTask(_message.Message):
    __slots__ = ("id", "actor", "queue", "status", "depends_on", "pending_parents", "cause_id", "cause", "created_at", "run_at", "started_at", "finished_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    PENDING_PARENTS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    RUN_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    actor: str
    queue: str
    status: TaskStatus
    depends_on: _containers.RepeatedCompositeFieldContainer[Dependency]
    pending_parents: int
    cause_id: str
    cause: str
    created_at: _timestamp_pb2.Timestamp
    run_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., actor: _Optional[str] = ..., queue: _Optional[str] = ..., status: _Optional[_Union[TaskStatus, str]] = ..., depends_on: _Optional[_Iterable[_Union[Dependency, _Mapping]]] = ..., pending_parents: _Optional[int] = ..., cause_id: _Optional[str] = ..., cause: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., run_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListWorkflowRequest(_message.Message):
    __slots__ = ("id", "limit", "cursor")
    ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    id: str
    limit: int
    cursor: str
    def __init__(self, id: _Optional[str] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class ListWorkflowResponse(_message.Message):
    __slots__ = ("workflow", "next_cursor", "previous_cursor", "tasks", "statuses", "is_complete", "batch_ids")
    class StatusesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_CURSOR_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    IS_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    BATCH_IDS_FIELD_NUMBER: _ClassVar[int]
    workflow: _containers.RepeatedCompositeFieldContainer[WorkflowTask]
    next_cursor: str
    previous_cursor: str
    tasks: int
    statuses: _containers.ScalarMap[str, int]
    is_complete: bool
    batch_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, workflow: _Optional[_Iterable[_Union[WorkflowTask, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., previous_cursor: _Optional[str] = ..., tasks: _Optional[int] = ..., statuses: _Optional[_Mapping[str, int]] = ..., is_complete: _Optional[bool] = ..., batch_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class GetResultRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetResultResponse(_message.Message):
    __slots__ = ("id", "status", "result", "error", "hidden", "finished_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: TaskStatus
    result: str
    error: TaskError
    hidden: _containers.RepeatedScalarFieldContainer[str]
    finished_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., status: _Optional[_Union[TaskStatus, str]] = ..., result: _Optional[str] = ..., error: _Optional[_Union[TaskError, _Mapping]] = ..., hidden: _Optional[_Iterable[str]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("id", "type", "at", "status", "attempt", "outcome", "result", "error", "progress", "verb", "by", "door", "reason", "detail", "hidden")
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    DOOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: EventType
    at: _timestamp_pb2.Timestamp
    status: TaskStatus
    attempt: int
    outcome: AttemptOutcome
    result: str
    error: TaskError
    progress: str
    verb: str
    by: str
    door: str
    reason: str
    detail: str
    hidden: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., type: _Optional[_Union[EventType, str]] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., status: _Optional[_Union[TaskStatus, str]] = ..., attempt: _Optional[int] = ..., outcome: _Optional[_Union[AttemptOutcome, str]] = ..., result: _Optional[str] = ..., error: _Optional[_Union[TaskError, _Mapping]] = ..., progress: _Optional[str] = ..., verb: _Optional[str] = ..., by: _Optional[str] = ..., door: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., hidden: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchTaskRequest(_message.Message):
    __slots__ = ("id", "last_event_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    LAST_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    last_event_id: str
    def __init__(self, id: _Optional[str] = ..., last_event_id: _Optional[str] = ...) -> None: ...

class WatchTaskResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class WatchTasksRequest(_message.Message):
    __slots__ = ("tasks",)
    TASKS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[WatchTaskRequest]
    def __init__(self, tasks: _Optional[_Iterable[_Union[WatchTaskRequest, _Mapping]]] = ...) -> None: ...

class WatchTasksResponse(_message.Message):
    __slots__ = ("task_id", "event")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    event: Event
    def __init__(self, task_id: _Optional[str] = ..., event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...
