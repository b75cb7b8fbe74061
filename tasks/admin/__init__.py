"""The control plane: admin pages of tasks, batches, operations, schedules, workers, queues, tokens, the journal."""

from tasks.admin.batch import BatchAdmin
from tasks.admin.journal import JournalAdmin
from tasks.admin.operation import OperationAdmin
from tasks.admin.queue import QueueAdmin
from tasks.admin.schedule import ScheduleAdmin
from tasks.admin.task import TaskAdmin
from tasks.admin.token import ApiTokenAdmin
from tasks.admin.worker import WorkerAdmin

__all__ = [
    "ApiTokenAdmin",
    "BatchAdmin",
    "JournalAdmin",
    "OperationAdmin",
    "QueueAdmin",
    "ScheduleAdmin",
    "TaskAdmin",
    "WorkerAdmin",
]
