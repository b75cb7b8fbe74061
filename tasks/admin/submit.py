"""The page that submits a task: a form made of the actor's schema, empty or filled with a copy of a task."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from tasks import lifecycle
from tasks.admin.formatting import escape_invisible, shortened
from tasks.admin.operator_log import author_of
from tasks.admin.payload_fields import PREFIX, JsonField, option_fields, payload_fields
from tasks.admin.refusals import add_refusal
from tasks.contract.access import SUBMIT_TASK, VIEW_TASK, Caller
from tasks.contract.actors import submittable_by
from tasks.contract.copies import copy_of, refuse_mask
from tasks.contract.rate_limit import SubmissionLimit
from tasks.contract.submission_requests import read_one
from tasks.contract.submissions import hiding_holders
from tasks.errors import CallboardError
from tasks.lifecycle.journal import LONGEST_REASON
from tasks.lifecycle.submit_unique import CREATED
from tasks.models import Task
from tasks.registry import ActorSpec
from tasks.submission import FIELDS, Tags

_TAGS = {name for name, one in FIELDS.items() if isinstance(one.kind, Tags)}


class SubmitForm(forms.Form):
    """The payload and the options of one task of an actor."""

    def __init__(
        self, *args: Any, spec: ActorSpec, copied: Mapping[str, Any] | None = None, as_json: bool = False, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        taken = (copied or {}).get("payload", {})
        arguments = {} if as_json else payload_fields(spec.arguments.schema, taken=taken)
        if not arguments:
            help_text = "The arguments as a JSON object."
            arguments = {"payload": JsonField(required=False, help_text=help_text, initial=taken)}
        options = option_fields(spec)
        for name in set(options) & set(copied or {}):
            value = (copied or {})[name]
            options[name].initial = ", ".join(value) if name in _TAGS else value
        self.fields.update({**arguments, **options})
        self.spec, self.arguments, self.options = spec, list(arguments), list(options)

    def shown_arguments(self) -> list[forms.BoundField]:
        """Give the fields of the payload."""
        return [self[name] for name in self.arguments]

    def shown_options(self) -> list[forms.BoundField]:
        """Give the others."""
        return [self[name] for name in self.options]

    def has_option_errors(self) -> bool:
        """Tell whether an option was refused, so that the options must be seen."""
        return any(name in self.errors for name in self.options)

    def body(self) -> dict[str, Any]:
        """Write what was given as the body of a request; blank fields are left out."""
        given = {name: value for name, value in self.cleaned_data.items() if self.data.get(name)}
        found = {name: given[name] for name in self.options if name in given}
        for name in _TAGS & set(found):
            found[name] = [one for one in map(str.strip, found[name].split(",")) if one]
        if "run_at" in found:
            found["run_at"] = found["run_at"].isoformat()
        by_field = {name.removeprefix(PREFIX): given[name] for name in self.arguments if name in given}
        payload = by_field.get("payload", {}) if self.arguments == ["payload"] else by_field
        return {**found, "actor": self.spec.name, "payload": payload}


def copy_url(request: HttpRequest, task: Task) -> str:
    """Give the address of the form with a copy of a task; empty if this user cannot submit one."""
    caller = Caller(request.user)
    names = {spec.name for spec in submittable_by(caller)}
    if task.actor not in names or copy_of(task, caller=caller) is None:
        return ""
    return f"{reverse('admin:callboard_task_add')}?{urlencode({'copy': task.pk})}"


def page(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """Let the user choose an actor, or fill in its form; submit what fits, and go to the new task."""
    caller = Caller(request.user)
    if not caller.is_permitted(SUBMIT_TASK):
        raise PermissionDenied
    specs = {spec.name: spec for spec in submittable_by(caller)}
    original, copied = _original(request, caller)
    name = original.actor if original else request.GET.get("actor", "")
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Submit task",
        "opts": model_admin.opts,
        "back": reverse("admin:callboard_task_changelist"),
    }
    if name not in specs:
        choices = [(one, escape_invisible(one)) for one in sorted(specs)]
        return TemplateResponse(
            request, "callboard/submit.html", {**context, "actors": choices, "unknown": shortened(name, 80)}
        )
    as_json = "json" in request.GET
    form = SubmitForm(request.POST or None, spec=specs[name], copied=copied, as_json=as_json)
    if request.method == "POST" and (task := _submitted(request, form, caller, original)):
        is_new = task.submitted_as in ("", CREATED)
        said = "was submitted" if is_new else "has the unique key already, so nothing was submitted"
        model_admin.message_user(
            request, f"{model_admin.name_of(task)} {said}.", messages.SUCCESS if is_new else messages.WARNING
        )
        return HttpResponseRedirect(model_admin.address_of(task.pk))
    shown = {
        "form": form,
        "actor": escape_invisible(name),
        "description": escape_invisible(specs[name].description),
        "original": original and {"name": model_admin.name_of(original), "url": model_admin.address_of(original.pk)},
        "json_url": "" if form.arguments == ["payload"] else f"?{request.GET.urlencode()}&json=1",
        "reason": request.POST.get("reason", ""),
        "max_reason_length": LONGEST_REASON,
    }
    return TemplateResponse(request, "callboard/submit.html", {**context, **shown})


def _original(request: HttpRequest, caller: Caller) -> tuple[Task | None, Mapping[str, Any] | None]:
    """Find the task that is to be copied, as far as the user sees it."""
    if "copy" not in request.GET:
        return None, None
    try:
        task = Task.objects.filter(pk=UUID(request.GET["copy"])).first()
    except ValueError:
        raise Http404 from None
    if task is None or not caller.may(VIEW_TASK, owner_id=task.owner_id):
        raise Http404
    if (copied := copy_of(task, caller=caller)) is None:
        raise PermissionDenied
    return task, copied


def _submitted(request: HttpRequest, form: SubmitForm, caller: Caller, original: Task | None) -> Task | None:
    """Submit what the form says; None if something is wrong with it, and then nothing was submitted."""
    by = author_of(request)
    if not form.is_valid():
        return None
    body = form.body()
    try:
        if original is not None:
            refuse_mask(body["payload"], original, caller=caller)
        submission = read_one(body, caller=caller)
        with hiding_holders(caller):
            return lifecycle.submit_by(
                by, submission, admit=SubmissionLimit(caller), copy_of=original.pk if original else None
            )
    except CallboardError as refusal:
        add_refusal(form, refusal)
        return None
