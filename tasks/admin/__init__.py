"""The control plane: pages on tasks, workers, queues and tokens, and what operators do there."""

from django.contrib import admin
from django_dramatiq.models import Task as DramatiqTask

from tasks.admin.queue import QueueAdmin
from tasks.admin.task import TaskAdmin
from tasks.admin.token import ApiTokenAdmin
from tasks.admin.worker import WorkerAdmin

__all__ = ["ApiTokenAdmin", "QueueAdmin", "TaskAdmin", "WorkerAdmin"]

# Its pages put payloads into HTML as they are, and its table is not used.
if admin.site.is_registered(DramatiqTask):
    admin.site.unregister(DramatiqTask)
