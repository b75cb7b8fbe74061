"""The Tasks framework that this Django has, by the names that tests need."""

from typing import Any

import django
from django.utils.module_loading import import_string

#: Also the name of its logger.
NAME = "django.tasks" if django.VERSION >= (6,) else "django_tasks"

# Of no type: tests give functions the JSON that type checkers would not let pass.
task: Any = import_string(f"{NAME}.task")
task_backends: Any = import_string(f"{NAME}.task_backends")
backend: Any = import_string(f"{NAME}.default_task_backend")
TaskResultMismatch: Any = import_string(f"{NAME}.exceptions.TaskResultMismatch")
