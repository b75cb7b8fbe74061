"""If-Match (RFC 9110): change a task only if it still has the version that the caller read.

The verbs of lifecycle take that version as a number; this module reads it from the header.
"""

import re

from rest_framework.request import Request

from tasks.contract.fields import quoted
from tasks.errors import FieldError, MalformedRequest, VersionMismatch
from tasks.models import Task

_TAG = r'(W/)?"([^"]*)"'
_TAGS = re.compile(rf"\s*{_TAG}\s*(?:,\s*{_TAG}\s*)*")


def etag(task: Task) -> str:
    """Write a task's version as an entity tag."""
    return f'"{task.version}"'


def expected_version(request: Request, task: Task) -> int | None:
    """Read the version that the task must have, or None if any version will do.

    Raises:
        MalformedRequest: the header is not a list of entity tags.
        VersionMismatch: it names only other versions; a weak tag never matches.
    """
    header = request.META.get("HTTP_IF_MATCH")
    if header is None or header.strip() == "*":
        return None
    if not _TAGS.fullmatch(header):
        message = f'expected an ETag with its quotes, such as "{task.version}", or *, got {quoted(header)}'
        raise MalformedRequest(message, errors=[FieldError("If-Match", "invalid", message)])
    if str(task.version) not in {tag for weak, tag in re.findall(_TAG, header) if not weak}:
        raise VersionMismatch(quoted(header), current=task.version, status=task.status)
    return task.version
