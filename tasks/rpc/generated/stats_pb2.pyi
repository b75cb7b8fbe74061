import datetime

from tasks.rpc.generated import queue_pb2 as _queue_pb2
from tasks.rpc.generated import worker_pb2 as _worker_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Percentiles(_message.Message):
    __slots__ = ("p50", "p95", "p99")
    P50_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    p50: float
    p95: float
    p99: float
    def __init__(self, p50: _Optional[float] = ..., p95: _Optional[float] = ..., p99: _Optional[float] = ...) -> None: ...

class Recent(_message.Message):
    __slots__ = ("minutes", "attempts", "attempts_per_second", "is_capped", "wait_seconds", "run_seconds")
    class AttemptsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    IS_CAPPED_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RUN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    minutes: int
    attempts: _containers.ScalarMap[str, int]
    attempts_per_second: float
    is_capped: bool
    wait_seconds: Percentiles
    run_seconds: Percentiles
    def __init__(self, minutes: _Optional[int] = ..., attempts: _Optional[_Mapping[str, int]] = ..., attempts_per_second: _Optional[float] = ..., is_capped: _Optional[bool] = ..., wait_seconds: _Optional[_Union[Percentiles, _Mapping]] = ..., run_seconds: _Optional[_Union[Percentiles, _Mapping]] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ("minutes",)
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    minutes: int
    def __init__(self, minutes: _Optional[int] = ...) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("tasks", "capped", "recent", "queues", "workers")
    class TasksEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    TASKS_FIELD_NUMBER: _ClassVar[int]
    CAPPED_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.ScalarMap[str, int]
    capped: _containers.RepeatedScalarFieldContainer[str]
    recent: Recent
    queues: _containers.RepeatedCompositeFieldContainer[_queue_pb2.Queue]
    workers: _containers.RepeatedCompositeFieldContainer[_worker_pb2.Worker]
    def __init__(self, tasks: _Optional[_Mapping[str, int]] = ..., capped: _Optional[_Iterable[str]] = ..., recent: _Optional[_Union[Recent, _Mapping]] = ..., queues: _Optional[_Iterable[_Union[_queue_pb2.Queue, _Mapping]]] = ..., workers: _Optional[_Iterable[_Union[_worker_pb2.Worker, _Mapping]]] = ...) -> None: ...

class GetStatsSeriesRequest(_message.Message):
    __slots__ = ("window", "actor", "queue")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    window: str
    actor: str
    queue: str
    def __init__(self, window: _Optional[str] = ..., actor: _Optional[str] = ..., queue: _Optional[str] = ...) -> None: ...

class Tally(_message.Message):
    __slots__ = ("start", "submitted", "succeeded", "retried", "dead", "cancelled", "failure_share", "busy_seconds", "wait_seconds", "run_seconds")
    START_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    RETRIED_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_SHARE_FIELD_NUMBER: _ClassVar[int]
    BUSY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RUN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    start: _timestamp_pb2.Timestamp
    submitted: int
    succeeded: int
    retried: int
    dead: int
    cancelled: int
    failure_share: float
    busy_seconds: float
    wait_seconds: Percentiles
    run_seconds: Percentiles
    def __init__(self, start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., submitted: _Optional[int] = ..., succeeded: _Optional[int] = ..., retried: _Optional[int] = ..., dead: _Optional[int] = ..., cancelled: _Optional[int] = ..., failure_share: _Optional[float] = ..., busy_seconds: _Optional[float] = ..., wait_seconds: _Optional[_Union[Percentiles, _Mapping]] = ..., run_seconds: _Optional[_Union[Percentiles, _Mapping]] = ...) -> None: ...

class GetStatsSeriesResponse(_message.Message):
    __slots__ = ("window", "step_seconds", "points", "total")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    STEP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    window: str
    step_seconds: int
    points: _containers.RepeatedCompositeFieldContainer[Tally]
    total: Tally
    def __init__(self, window: _Optional[str] = ..., step_seconds: _Optional[int] = ..., points: _Optional[_Iterable[_Union[Tally, _Mapping]]] = ..., total: _Optional[_Union[Tally, _Mapping]] = ...) -> None: ...
