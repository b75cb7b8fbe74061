"""A door: the backend for Django's Tasks framework (DEP 14). A function declared with ``@task`` becomes an actor.

``django.tasks`` is part of Django 6; on Django 5.2 the package ``django-tasks`` has the same names.
"""

from tasks.django_tasks.actors import actor_options
from tasks.django_tasks.backend import CallboardBackend
from tasks.django_tasks.results import TaskCancelled, TaskExpired, UnsupportedResult, WorkerLost

__all__ = ["CallboardBackend", "TaskCancelled", "TaskExpired", "UnsupportedResult", "WorkerLost", "actor_options"]
