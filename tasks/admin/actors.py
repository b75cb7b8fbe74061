"""Actor pages: the payload that each actor takes, its defaults, and how often and how long it ran."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from tasks import registry
from tasks.admin.ended import chart, choices, ended_shares
from tasks.admin.formatting import EMPTY, duration, escape_invisible, json_block, shortened
from tasks.admin.times import time_lines
from tasks.contract.access import VIEW_DEAD_LETTER, VIEW_TASK, Caller
from tasks.contract.actors import actor_as_dict, submittable_by
from tasks.contract.fields import InvalidValue, text
from tasks.queries.stats import Tally, Window, by_actor, series
from tasks.registry import ActorSpec
from tasks.submission import FIELDS, Seconds

MAX_NAME_LENGTH = 80

_read_name = text(255)


def urls_of(site: AdminSite) -> list[URLPattern]:
    """Give the addresses of the pages in an admin site."""

    def actor_list(request: HttpRequest) -> TemplateResponse:
        return _page(site, request, "callboard/actors.html", {"title": "Actors", **_list(request)})

    def actor_page(request: HttpRequest, name: str) -> TemplateResponse:
        return _page(site, request, "callboard/actor.html", _actor(request, name))

    return [
        path("actors/", site.admin_view(actor_list), name="callboard_actors"),
        path("actors/<path:name>/", site.admin_view(actor_page), name="callboard_actor"),
    ]


def _page(site: AdminSite, request: HttpRequest, template: str, context: Mapping[str, Any]) -> TemplateResponse:
    return TemplateResponse(request, template, {**site.each_context(request), "is_actors": True, **context})


def _window(request: HttpRequest) -> Window:
    return Window.named(request.GET.get("window", Window.DAY.label))


def _list(request: HttpRequest) -> dict[str, Any]:
    if not request.user.has_perm(VIEW_TASK.permission):
        raise PermissionDenied
    window = _window(request)
    found = by_actor(seconds=window.seconds, with_times=True)
    specs = {spec.name: spec for spec in registry.all_specs()}
    # Actors that only earlier releases declared still have statistics.
    names = sorted({*specs, *filter(None, found)}, key=lambda name: (-found.get(name, Tally()).ended, name))
    rows = [_row(name, specs.get(name), found.get(name, Tally())) for name in names]
    return {"windows": choices(window), "actors": rows}


def _row(name: str, spec: ActorSpec | None, tally: Tally) -> dict[str, Any]:
    return {
        "name": shortened(name, MAX_NAME_LENGTH),
        "url": reverse("admin:callboard_actor", args=[name]),
        "description": shortened(spec.description.split("\n")[0], 120) if spec else "Not declared in this release.",
        "queue": escape_invisible(spec.queue) if spec else EMPTY,
        **ended_shares(tally),
    }


def _actor(request: HttpRequest, name: str) -> dict[str, Any]:
    if not request.user.has_perm(VIEW_TASK.permission):
        raise PermissionDenied
    try:
        _read_name(name)
    except InvalidValue as error:
        raise Http404 from error
    window = _window(request)
    spec = next((one for one in registry.all_specs() if one.name == name), None)
    points = series(window, actor=name, with_times=True)
    total = points.total()
    # Not of the chosen window alone, from which its statistics may be missing.
    if spec is None and not (total.counts or series(Window.WEEK, actor=name).total().counts):
        raise Http404
    letters = f"{reverse('admin:dlq_deadletter_changelist')}?{urlencode({'actor': name})}"
    return {
        "title": shortened(name, MAX_NAME_LENGTH),
        "name": shortened(name, MAX_NAME_LENGTH),
        "is_declared": spec is not None,
        "description": escape_invisible(spec.description) if spec else "",
        "summary": _summary(spec, total) if spec else [],
        "schema": json_block(spec.arguments.schema) if spec else "",
        "chart": chart(window, points, links=True, acts=False, actor=name),
        "lines": time_lines(points, window, ("run", 0.5), ("run", 0.95), ("wait", 0.95)),
        "tasks_url": f"{reverse('admin:callboard_task_changelist')}?{urlencode({'actor': name})}",
        "submit_url": f"{reverse('admin:callboard_task_add')}?{urlencode({'actor': name})}"
        if spec in submittable_by(Caller(request.user))
        else "",
        "letters_url": letters if request.user.has_perm(VIEW_DEAD_LETTER.permission) else "",
    }


def _summary(spec: ActorSpec, total: Tally) -> list[dict[str, str]]:
    defaults = actor_as_dict(spec, caller=None)["defaults"]
    lines = [("Queue", escape_invisible(spec.queue)), ("REST API", "open" if spec.is_open_to_api else "closed")]
    lines += [(_label(name), _default(name, value)) for name, value in defaults.items()]
    shares = ended_shares(total)
    lines += [("Runs", shares["runs"]), ("Failing", shares["failing"]), ("Died", shares["died"])]
    return [{"label": label, "value": value} for label, value in lines]


def _label(name: str) -> str:
    return name.removesuffix("_seconds").replace("_", " ").capitalize()


def _default(name: str, value: Any) -> str:
    field = FIELDS[name]
    if value is None:
        return str(getattr(field, "if_null", "")) or EMPTY
    return duration(float(value)) if isinstance(field.kind, Seconds) else str(value)
