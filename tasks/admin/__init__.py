"""The control plane: admin pages of tasks, schedules, workers, queues, tokens and the journal, and operators' verbs."""

from django.contrib import admin
from django_dramatiq.models import Task as DramatiqTask

from tasks.admin.journal import JournalAdmin
from tasks.admin.queue import QueueAdmin
from tasks.admin.schedule import ScheduleAdmin
from tasks.admin.task import TaskAdmin
from tasks.admin.token import ApiTokenAdmin
from tasks.admin.worker import WorkerAdmin

__all__ = ["ApiTokenAdmin", "JournalAdmin", "QueueAdmin", "ScheduleAdmin", "TaskAdmin", "WorkerAdmin"]

# Its pages do not escape payloads, and its table is unused.
if admin.site.is_registered(DramatiqTask):
    admin.site.unregister(DramatiqTask)
