"""The control plane: admin pages of tasks, workers, queues, tokens and the journal, and the verbs of operators."""

from tasks.admin.journal import JournalAdmin
from tasks.admin.queue import QueueAdmin
from tasks.admin.task import TaskAdmin
from tasks.admin.token import ApiTokenAdmin
from tasks.admin.worker import WorkerAdmin

__all__ = ["ApiTokenAdmin", "JournalAdmin", "QueueAdmin", "TaskAdmin", "WorkerAdmin"]
