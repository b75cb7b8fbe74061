"""The tables: each file has one noun and its query set."""

from tasks.models.attempt import Attempt
from tasks.models.barrier import Barrier
from tasks.models.batch import Batch, BatchDelta, BatchQuerySet
from tasks.models.dependency import Dependency
from tasks.models.idempotency_key import IdempotencyKey
from tasks.models.ids import made_at, new_id
from tasks.models.journal import Journal, JournalQuerySet
from tasks.models.lease import Lease, Term
from tasks.models.listing import ListedQuerySet
from tasks.models.operation import Operation, OperationItem, OperationQuerySet
from tasks.models.queue import Queue
from tasks.models.schedule import Schedule, ScheduleQuerySet
from tasks.models.step import Step
from tasks.models.task import Task, TaskQuerySet
from tasks.models.task_stat import TaskStat
from tasks.models.token import ApiToken, all_scopes
from tasks.models.worker import Worker, WorkerQuerySet

__all__ = [
    "ApiToken",
    "Attempt",
    "Barrier",
    "Batch",
    "BatchDelta",
    "BatchQuerySet",
    "Dependency",
    "IdempotencyKey",
    "Journal",
    "JournalQuerySet",
    "Lease",
    "ListedQuerySet",
    "Operation",
    "OperationItem",
    "OperationQuerySet",
    "Queue",
    "Schedule",
    "ScheduleQuerySet",
    "Step",
    "Task",
    "TaskQuerySet",
    "TaskStat",
    "Term",
    "Worker",
    "WorkerQuerySet",
    "all_scopes",
    "made_at",
    "new_id",
]
