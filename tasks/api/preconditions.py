"""If-Match (RFC 9110): change a task only if it is the version that the caller has read."""

import re

from rest_framework.request import Request

from tasks.api.fields import shown
from tasks.errors import VersionMismatch
from tasks.models import Task

_TAG = re.compile(r'(W/)?"([^"]*)"|(\*)')


def etag(task: Task) -> str:
    """Write a task's version as an entity tag."""
    return f'"{task.version}"'


def expected_version(request: Request, task: Task) -> int | None:
    """Give the version that an edit must find, None if any will do.

    Raises:
        VersionMismatch: the header names others; a weak tag matches nothing.
    """
    header = request.META.get("HTTP_IF_MATCH")
    if header is None:
        return None
    tags = [found.groups() for found in _TAG.finditer(header)]
    if any(star for _, _, star in tags):
        return None
    if str(task.version) not in {tag for weak, tag, _ in tags if not weak}:
        raise VersionMismatch(shown(header), current=task.version, status=task.status)
    return task.version
