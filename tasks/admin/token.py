"""API token pages: create a token and see its secret once, change or revoke it."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from tasks import registry
from tasks.admin.display import display, display_age
from tasks.admin.formatting import badge, escape_invisible
from tasks.admin.operated import OperatedAdmin
from tasks.admin.operator_log import author_of
from tasks.admin.verb import Verb
from tasks.contract.access import ADD_TOKEN, CHANGE_TOKEN, REVOKE_TOKEN
from tasks.lifecycle import tokens
from tasks.models import ApiToken, Queue, all_scopes
from tasks.states import ObjectKind, Scope


def _status(token: ApiToken) -> str:
    if token.is_valid:
        return badge("alive", "Valid")
    return badge("gone", "Revoked" if token.revoked_at else "Expired")


_STATUS = display("status", _status)


REVOKE = Verb(
    name="revoke",
    label="Revoke",
    command="Revoke {}",
    outcome="be revoked",
    done="revoked",
    permission=REVOKE_TOKEN.permission,
    effect="Requests with this token are refused from now on. This cannot be undone. Its tasks are kept.",
    condition="Only tokens that are not revoked yet can be revoked.",
    legal=lambda rows: rows.filter(revoked_at=None),
    run=lambda ids, by: tokens.revoke_many(ids, by=by),
    is_danger=True,
)


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]
    """A token's name, user, scopes, actors, queues and expiry."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=all_scopes,
        widget=forms.CheckboxSelectMultiple,
        help_text="What the token may do.",
    )
    actors = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="The token can see and submit only tasks of these actors. Leave empty for all.",
    )
    queues = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="The token can see and submit only tasks in these queues. Leave empty for all.",
    )

    class Meta:
        model = ApiToken
        fields = ("name", "user", "scopes", "actors", "queues", "expires_at")
        help_texts = {
            "name": "Where the token is used, so that you recognise it later.",
            "user": "Owns the tasks that the token submits. The token can do at most what this user may do.",
            "expires_at": "Leave empty for a token that never expires.",
        }
        field_classes = {"expires_at": forms.SplitDateTimeField}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._offer("actors", {spec.name for spec in registry.all_specs() if spec.is_open_to_api})
        self._offer("queues", set(Queue.objects.values_list("name", flat=True)))

    def _offer(self, name: str, known: set[str]) -> None:
        # Selected values stay on offer: an actor may be missing from the code while a deploy lasts.
        if name in self.fields:
            names = sorted(known | set(getattr(self.instance, name)))
            cast(forms.MultipleChoiceField, self.fields[name]).choices = [(one, escape_invisible(one)) for one in names]

    def clean_expires_at(self) -> Any:
        """Refuse a time in the past."""
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now() and "expires_at" in self.changed_data:
            raise ValidationError("Must be in the future. To end a token now, revoke it.")
        return expires_at


@admin.register(ApiToken)
class ApiTokenAdmin(OperatedAdmin):
    """API tokens; the secret is shown once, when the token is created."""

    change_form_template = "callboard/editable_form.html"
    form = TokenForm
    verbs = (REVOKE,)
    kind = ObjectKind.TOKEN
    state_field = None
    empty_text = "No API tokens. Add one for each program that calls the API."
    list_display = (
        display("name", lambda token: escape_invisible(token.name)),
        display("user", lambda token: escape_invisible(str(token.user))),
        display("scopes", lambda token: ", ".join(token.scopes)),
        _STATUS,
        display_age("created_at"),
        display_age("last_used_at"),
        display_age("expires_at"),
    )
    list_select_related = ("user",)
    summary_fields = (
        _STATUS,
        display_age("created_at"),
        display_age("last_used_at"),
        display_age("revoked_at"),
        display_age("expires_at"),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow with the permission; only superusers create tokens for other users."""
        return request.user.has_perm(ADD_TOKEN.permission)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow with the permission while the token is valid; only superusers change tokens of other users."""
        if not request.user.has_perm(CHANGE_TOKEN.permission):
            return False
        return obj is None or (obj.is_valid and (request.user.is_superuser or obj.user_id == request.user.pk))

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        """Leave the digests out."""
        return super().get_queryset(request).defer("digest")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show the form's fields."""
        return [(None, {"fields": TokenForm.Meta.fields})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Fix the user of an existing token."""
        return ["user"] if obj else []

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer only superusers other users: another user's token would give more permissions than one's own."""
        if db_field.name == "user" and not request.user.is_superuser:
            kwargs["queryset"] = db_field.related_model.objects.filter(pk=request.user.pk)
            kwargs["initial"] = request.user.pk
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @sensitive_variables("secret")
    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        """Issue a new token; its secret is in the response and nowhere else."""
        by = author_of(request)
        if change:
            tokens.edit(obj, [name for name in form.changed_data if name != "user"], by=by)
            return
        issued, secret = tokens.issue(by=by, **form.cleaned_data)
        obj.pk, obj.secret = issued.pk, secret  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show the secret in the response itself: a redirect would have to store it."""
        context = {
            **self.admin_site.each_context(request),
            "title": "API token created",
            "opts": self.opts,
            "token": obj,
            "secret": obj.secret,
            "back": self.address_of(obj.pk),
        }
        # The admin marks all its pages as not to be stored.
        return TemplateResponse(request, "callboard/token_issued.html", context)
