"""The control plane: admin pages of tasks, schedules, workers, queues, tokens and the journal, and operators' verbs."""

from tasks.admin.journal import JournalAdmin
from tasks.admin.queue import QueueAdmin
from tasks.admin.schedule import ScheduleAdmin
from tasks.admin.task import TaskAdmin
from tasks.admin.token import ApiTokenAdmin
from tasks.admin.worker import WorkerAdmin

__all__ = ["ApiTokenAdmin", "JournalAdmin", "QueueAdmin", "ScheduleAdmin", "TaskAdmin", "WorkerAdmin"]
