"""The page that edits the payload of a dead task and re-drives it."""

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from dlq.models import DeadLetter
from tasks import lifecycle, registry
from tasks.admin import operator_log
from tasks.admin.base import ReadOnlyAdmin
from tasks.admin.formatting import editable_json, escape_invisible, json_block
from tasks.contract.access import EDIT_PAYLOAD, REDRIVE_DEAD_LETTER, VIEW_DEAD_LETTER, VIEW_TASK, Caller
from tasks.contract.dead_letters import permitted_payload, task_of
from tasks.contract.sight import Lens, Sight, sight_of
from tasks.contract.strict_json import decoded
from tasks.errors import CallboardError, FieldError, InvalidTask, http_status
from tasks.lifecycle.journal import LONGEST_REASON
from tasks.models import Task


def may_edit(request: HttpRequest, letter: DeadLetter) -> bool:
    """Tell whether the user may see, change and re-drive the payload of a dead letter that is open."""
    caller, user = Caller(request.user), request.user
    may_act = user.has_perms([VIEW_DEAD_LETTER.permission, VIEW_TASK.permission, REDRIVE_DEAD_LETTER.permission])
    may_change = may_act and caller.may(EDIT_PAYLOAD, owner_id=letter.owner_id)
    return letter.is_open and may_change and sight_of(caller)(letter.owner_id) is not Sight.NOTHING


def edit_view(model_admin: ReadOnlyAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """Show the payload in a form, or give it to the task and re-drive that."""
    letter = model_admin.get_object(request, unquote(object_id))
    if letter is None:
        raise Http404
    back = HttpResponseRedirect(model_admin.address_of(letter.pk))
    if not letter.is_open and model_admin.has_view_permission(request, letter):
        model_admin.message_user(request, "Nothing to edit: the dead letter is not open.", messages.WARNING)
        return back
    if not may_edit(request, letter):
        raise PermissionDenied
    try:
        task = task_of(letter)
        if request.method != "POST":
            return _page(model_admin, request, letter, task)
        by = operator_log.author_of(request)
        payload = permitted_payload(_read(request), letter=letter, caller=Caller(request.user))
        lifecycle.redrive(letter.pk, by=by, payload=payload)
    except InvalidTask as refusal:
        errors = refusal.errors or [FieldError("payload", refusal.code, refusal.detail)]
        return _page(model_admin, request, letter, task, errors=errors, status=http_status(refusal))
    except CallboardError as refusal:
        model_admin.message_user(request, f"Nothing was done: {refusal.detail}.", messages.WARNING)
        return back
    how = "as it was" if payload is None else "with the new payload"
    model_admin.message_user(request, f"{model_admin.name_of(letter)} was re-driven {how}.", messages.SUCCESS)
    return back


def _read(request: HttpRequest) -> dict[str, Any]:
    """Read the JSON of the form.

    Raises:
        InvalidTask: it is no JSON object, or too large.
    """
    try:
        payload = decoded(request.POST.get("payload", "").encode(), what="the payload")
    except CallboardError as error:
        raise InvalidTask(errors=[FieldError("payload", error.code, error.detail)]) from error
    if not isinstance(payload, dict):
        message = "expected a JSON object: the actor’s arguments by name"
        raise InvalidTask(errors=[FieldError("payload", "invalid", message)])
    return payload


def _page(
    model_admin: ReadOnlyAdmin,
    request: HttpRequest,
    letter: DeadLetter,
    task: Task,
    *,
    errors: Sequence[FieldError] = (),
    status: int = 200,
) -> TemplateResponse:
    lens = Lens(sight_of(Caller(request.user))(letter.owner_id), task)
    spec = next((one for one in registry.all_specs() if one.name == task.actor), None)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": f"Edit and re-drive {model_admin.name_of(letter)}",
        "opts": model_admin.opts,
        "row_name": model_admin.name_of(letter),
        "back": model_admin.address_of(letter.pk),
        "payload": request.POST.get("payload", editable_json(lens.payload())),
        "reason": request.POST.get("reason", ""),
        "args": json_block(lens.arguments()) if task.args else "",
        "schema": json_block(spec.arguments.schema) if spec else "",
        "errors": [(escape_invisible(one.field), escape_invisible(one.message)) for one in errors],
        "max_reason_length": LONGEST_REASON,
    }
    return TemplateResponse(request, "callboard/edit_payload.html", context, status=status)
