"""If-Match (RFC 9110): act on a task only if it is still as the caller read it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from rest_framework.request import Request

from tasks.contract.fields import quoted
from tasks.errors import FieldError, MalformedRequest, NotFound, VersionMismatch
from tasks.models import Task

_TAG = r'(?:W/)?"[^"]*"'
#: The value of the header: ``*``, or entity tags.
PATTERN = rf"^(?:\*|{_TAG}(?:[ \t]*,[ \t]*{_TAG})*)$"
_DESCRIBED = ("version", "status", "attempt", "cancel_requested_at")


def etag(task: Task) -> str:
    """Write the state of a task as an entity tag: what people edited, and how far it has come.

    It leaves out the forecast of the start, which changes while nothing happens to the task.
    """
    return f'"{_state(task)}"'


@contextmanager
def unchanged(request: Request, task: Task) -> Iterator[int | None]:
    """Hold a task as the request's If-Match expects it, for one verb; yield its version, or None if any will do.

    The version alone is a tag too: it stands for the task as it was edited, however far it has come.

    Raises:
        MalformedRequest: the header is not a list of entity tags.
        VersionMismatch: it names only other states; a weak tag never matches.
        NotFound: the task is gone.
    """
    header = request.META.get("HTTP_IF_MATCH", "*").strip(" \t")
    if header == "*":
        yield None
        return
    if not re.fullmatch(PATTERN, header):
        message = f"expected an ETag with its quotes, such as {etag(task)}, or *, got {quoted(header)}"
        raise MalformedRequest(message, errors=[FieldError("If-Match", "invalid", message)])
    with transaction.atomic():
        # Locked, or the engine could move it on between this look and the verb.
        held = Task.objects.select_for_update().only(*_DESCRIBED).filter(pk=task.pk).first()
        if held is None:
            raise NotFound(f"there is no task {task.pk}")
        if not {_state(held), str(held.version)} & {tag[1:-1] for tag in re.findall(_TAG, header) if tag[0] == '"'}:
            raise VersionMismatch(quoted(header), current=f"{held.version} and {held.status}", status=held.status)
        yield held.version


def version_in(request: Request) -> int | None:
    """Read the version that an If-Match expects of a schedule; None if any will do.

    Raises:
        MalformedRequest: the header is not a list of entity tags.
    """
    header = request.META.get("HTTP_IF_MATCH", "*").strip(" \t")
    if header == "*":
        return None
    if not re.fullmatch(PATTERN, header):
        message = f'expected an ETag with its quotes, such as "1", or *, got {quoted(header)}'
        raise MalformedRequest(message, errors=[FieldError("If-Match", "invalid", message)])
    versions = [int(tag[1:-1]) for tag in re.findall(_TAG, header) if re.fullmatch('"[0-9]{1,9}"', tag)]
    # No version is 0, so what never matches is refused as another version is.
    return versions[0] if versions else 0


def _state(task: Task) -> str:
    return f"{task.version}-{task.status}-{task.attempt}{'-cancelling' if task.cancel_requested_at else ''}"
