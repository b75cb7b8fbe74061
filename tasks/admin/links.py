"""Links from a task's page to its log lines and its trace, by the templates of the settings."""

import re
from datetime import datetime, timedelta
from urllib.parse import quote

from django.utils import timezone

from tasks.conf import conf
from tasks.models import Task

#: Clocks of hosts differ, and lines come late.
_MARGIN = timedelta(minutes=1)


def links_of(task: Task) -> list[dict[str, str]]:
    """List the links of a task, each with its label and its address."""
    templates = {"Log lines": conf.LOG_URL_TEMPLATE, "Trace": conf.TRACE_URL_TEMPLATE}
    return [{"label": label, "url": _filled(template, task)} for label, template in templates.items() if template]


def _filled(template: str, task: Task) -> str:
    values = {
        "task_id": str(task.pk),
        "trace_id": task.trace_id,
        "actor": task.actor,
        "queue": task.queue,
        "from_ms": _milliseconds(task.created_at - _MARGIN),
        "until_ms": _milliseconds((task.finished_at or timezone.now()) + _MARGIN),
    }
    return re.sub(r"\{(\w+)\}", lambda found: quote(values[found[1]], safe=""), template)


def _milliseconds(moment: datetime) -> str:
    return str(round(moment.timestamp() * 1000))
