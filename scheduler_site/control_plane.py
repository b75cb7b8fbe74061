"""The admin site: the overview is its first page, models come in an operator's order, logins are limited."""

from typing import Any

from django.apps import apps
from django.contrib.admin import AdminSite, site
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse


class ControlPlaneConfig(AdminConfig):
    """Django's admin with this site."""

    default_site = "scheduler_site.control_plane.ControlPlane"

    def ready(self) -> None:
        """Load all apps' pages but django-dramatiq's, which does not escape payloads and whose table is unused."""
        super().ready()
        site.unregister(apps.get_model("django_dramatiq", "Task"))


class ControlPlane(AdminSite):
    """Callboard's admin."""

    site_header = site_title = "Callboard"
    index_title = "Overview"
    index_template = "callboard/overview.html"
    # No link to the site: the admin is the site.
    site_url = None
    # The few models are tabs in the header, on phones too.
    enable_nav_sidebar = False

    #: These models come first, in this order, under one heading; the others follow in Django's order.
    MODELS = (
        *("Task", "Batch", "Failure", "DeadLetter", "Operation"),
        *("Schedule", "Queue", "Worker", "Journal", "ApiToken"),
    )

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Tell templates that every page has Callboard's style."""
        return {**super().each_context(request), "is_control_plane": True}

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """List the scheduler's models together."""
        apps = super().get_app_list(request, app_label)
        ours = [app for app in apps if app["app_label"] in ("callboard", "dlq")]
        if not ours or app_label is not None:
            return apps
        models = [model for app in ours for model in app["models"] if model["object_name"] in self.MODELS]
        models.sort(key=lambda model: self.MODELS.index(model["object_name"]))
        return [{**ours[0], "name": "Control plane", "models": models}, *(app for app in apps if app not in ours)]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show the overview."""
        # The site is created while Django loads apps, before models exist.
        from tasks.admin.overview import overview

        return super().index(
            request, {**overview(request.user, window=request.GET.get("window")), **(extra_context or {})}
        )

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Limit the attempts of an address."""
        from scheduler_site.logins import refusal

        return refusal(request) or super().login(request, extra_context)
