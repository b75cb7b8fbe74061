"""Pages on API tokens: create one and see its secret once, change when it expires, revoke it."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from tasks import registry
from tasks.admin.display import display, display_age
from tasks.admin.formatting import badge
from tasks.admin.operated import OperatedAdmin
from tasks.admin.verb import Verb
from tasks.models import ApiToken, Queue, all_scopes
from tasks.states import Scope


def _status(token: ApiToken) -> str:
    if token.is_valid:
        return badge("alive", "Valid")
    return badge("gone", "Revoked" if token.revoked_at else "Expired")


_STATUS = display("status", _status)


def _revoke(ids: Any, by: str) -> int:
    return ApiToken.objects.filter(pk__in=ids, revoked_at=None).update(revoked_at=Now())


REVOKE = Verb(
    name="revoke",
    label="Revoke",
    done="revoked",
    permission="tasks.revoke_apitoken",
    effect="Whoever uses it is refused from now on, for good. What was submitted with it stays.",
    legal=lambda rows: rows.filter(revoked_at=None),
    run=_revoke,
    is_danger=True,
)


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a token is called, whose it is, what it may do, and until when."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, initial=all_scopes, widget=forms.CheckboxSelectMultiple, help_text="What it may do."
    )
    actors = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Only tasks of these are seen and submitted; none chosen: of all.",
    )
    queues = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Only tasks in these are seen and submitted; none chosen: in all.",
    )

    class Meta:
        model = ApiToken
        fields = ("name", "user", "scopes", "actors", "queues", "expires_at")
        help_texts = {
            "name": "Where it is used, to recognise it later.",
            "user": "Tasks submitted with it belong to this user; a member of staff sees and changes everybody’s.",
            "expires_at": "Empty: it does not expire.",
        }
        field_classes = {"expires_at": forms.SplitDateTimeField}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._offer("actors", {spec.name for spec in registry.all_specs() if spec.is_open_to_api})
        self._offer("queues", set(Queue.objects.values_list("name", flat=True)))

    def _offer(self, name: str, known: set[str]) -> None:
        # What is chosen as well: an actor may be gone from the code for as long as a deploy lasts.
        if name in self.fields:
            names = sorted(known | set(getattr(self.instance, name)))
            cast(forms.MultipleChoiceField, self.fields[name]).choices = [(one, one) for one in names]

    def clean_expires_at(self) -> Any:
        """Refuse a token that is never valid."""
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now() and "expires_at" in self.changed_data:
            raise ValidationError("Expected a time to come; “Revoke” ends a token now.")
        return expires_at


@admin.register(ApiToken)
class ApiTokenAdmin(OperatedAdmin):
    """API tokens; a secret is shown once, when it is made."""

    change_form_template = "admin/tasks/apitoken/change_form.html"
    form = TokenForm
    verbs = (REVOKE,)
    state_field = None
    empty_text = "Nobody has a token."
    list_display = (
        "name",
        "user",
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
        """Whoever has the permission may make tokens, others than superusers only for themselves."""
        return request.user.has_perm("tasks.add_apitoken")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Change the name and when it expires."""
        return request.user.has_perm("tasks.change_apitoken") and (obj is None or obj.is_valid)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        """Read no digests."""
        return super().get_queryset(request).defer("digest")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show what can be chosen."""
        return [(None, {"fields": TokenForm.Meta.fields})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Whose it is stays as it was."""
        return ["user"] if obj else []

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer others than superusers only themselves: with anybody else's token they would be more than they are."""
        if db_field.name == "user" and not request.user.is_superuser:
            kwargs["queryset"] = db_field.related_model.objects.filter(pk=request.user.pk)
            kwargs["initial"] = request.user.pk
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @sensitive_variables("secret")
    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        """Issue a new one; its secret goes with the answer and nowhere else."""
        if change:
            obj.save(update_fields=[name for name in form.cleaned_data if name != "user"])
            return
        issued, secret = ApiToken.issue(**form.cleaned_data)
        obj.pk, obj.secret = issued.pk, secret  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show the secret, in the answer itself: a redirect would have to keep it somewhere."""
        context = {
            **self.admin_site.each_context(request),
            "title": "This is the token’s secret",
            "opts": self.opts,
            "token": obj,
            "secret": obj.secret,
            "back": self.address_of(obj.pk),
        }
        # Like every page of the admin, it is not to be stored.
        return TemplateResponse(request, "admin/tasks/apitoken/issued.html", context)
