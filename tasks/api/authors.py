"""Who acts by a request, and why: the author of what the journal records."""

from collections.abc import Mapping

from rest_framework.request import Request

from tasks.api.parsers import read_object
from tasks.api.permissions import caller_of
from tasks.contract import fields, journal
from tasks.errors import InvalidTask
from tasks.lifecycle import Author
from tasks.states import Door

_FIELDS: Mapping[str, fields.Reader] = {"reason": journal.reason}


#: Of a verb that may also act on all tasks that are linked to one.
_FIELDS_OF_TASK: Mapping[str, fields.Reader] = {**_FIELDS, "workflow": fields.boolean}


def author_of(request: Request, reason: str) -> Author:
    """Name the caller as the author of what the request does."""
    return Author(caller_of(request).name, Door.API, reason)


def read_author(request: Request) -> Author:
    """Read the body of a verb that takes nothing but a reason, and name the author; the body may be left out.

    Raises:
        InvalidTask: the reason is not valid, or the body has other fields.
    """
    values, errors = fields.read_fields(read_object(request, optional=True), _FIELDS, refused={})
    if errors:
        raise InvalidTask("this call takes a reason and nothing else", errors=errors)
    return author_of(request, values.get("reason", ""))


def read_author_and_extent(request: Request) -> tuple[Author, bool]:
    """Read the body of a verb on a task, which may be left out: the author, and whether it is for the whole workflow.

    Raises:
        InvalidTask: a field is not valid, or unknown.
    """
    values, errors = fields.read_fields(read_object(request, optional=True), _FIELDS_OF_TASK, refused={})
    if errors:
        raise InvalidTask("this call takes a reason, workflow, and nothing else", errors=errors)
    return author_of(request, values.get("reason", "")), values.get("workflow", False)
