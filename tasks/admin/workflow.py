"""The page of a workflow: its tasks in columns by depth, with their durations and the path that decided its length."""

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from tasks.admin.formatting import EMPTY, badge, count_text, duration, task_link
from tasks.contract.access import VIEW_TASK, Caller
from tasks.contract.workflows import counts, nodes, seen_workflow
from tasks.models import Task
from tasks.queries.dependencies import first_parents
from tasks.states import Status

#: Tasks that the page draws, the oldest of them.
MOST_DRAWN = 400

#: The parents of each task, as far as they are drawn.
Parents = Mapping[UUID, Sequence[UUID]]


def page(model_admin: Any, request: HttpRequest, task: Task | None) -> HttpResponse:
    """Draw the workflow of a task, as far as the user sees it."""
    if task is None:
        raise Http404
    if not model_admin.has_view_permission(request, task):
        raise PermissionDenied
    seen = seen_workflow(task, caller=Caller(request.user), view=VIEW_TASK)
    drawn = {one.pk: one for one in nodes(seen).order_by("pk")[:MOST_DRAWN]}
    parents = {
        child: [edge.parent_id for edge in edges if edge.parent_id in drawn]
        for child, edges in first_parents(list(drawn)).items()
    }
    path = critical_path(drawn, parents)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Workflow",
        "opts": model_admin.opts,
        "name": model_admin.name_of(task),
        "task_url": model_admin.address_of(task.pk),
        "summary": _summary(counts(seen), [drawn[id] for id in path], is_complete=seen.is_complete),
        "columns": [
            [_node(drawn[id], is_current=id == task.pk, is_critical=id in path) for id in column]
            for column in columns(drawn, parents)
        ],
        "most_drawn": MOST_DRAWN if len(seen.ids) > MOST_DRAWN else 0,
    }
    return TemplateResponse(request, "callboard/workflow.html", context)


def columns(tasks: Mapping[UUID, Task], parents: Parents) -> list[list[UUID]]:
    """Put each task into the column after the last of its parents, in the order of ``tasks``."""
    order = {id: place for place, id in enumerate(tasks)}
    graph = TopologicalSorter({id: parents[id] for id in tasks})
    graph.prepare()
    found: list[list[UUID]] = []
    while ready := graph.get_ready():
        found.append(sorted(ready, key=order.__getitem__))
        graph.done(*ready)
    return found


def critical_path(tasks: Mapping[UUID, Task], parents: Parents) -> list[UUID]:
    """Follow the parent that ended last, back from the task that ended last; none while nothing has started."""
    now = timezone.now()
    started = [id for id in tasks if tasks[id].started_at]
    # By the clocks of two workers a child may end before its parent, so the last task is one without a child.
    with_child = {parent for id in started for parent in parents[id]}
    choice = [id for id in started if id not in with_child]
    path: list[UUID] = []
    while choice:
        last = max(choice, key=lambda id: tasks[id].finished_at or now)
        path.append(last)
        choice = [id for id in parents[last] if tasks[id].started_at]
    return path[::-1]


def _summary(counted: Mapping[str, int], path: Sequence[Task], *, is_complete: bool) -> list[dict[str, str]]:
    total = sum(counted.values())
    lines = [("Tasks", count_text(total, is_capped=not is_complete))]
    lines += [(str(Status(name).label), count_text(number)) for name, number in counted.items()]
    if path and path[0].started_at:
        until = path[-1].finished_at or timezone.now()
        lines.append(("Critical path", duration((until - path[0].created_at).total_seconds())))
    return [{"label": label, "value": value} for label, value in lines]


def _node(task: Task, *, is_current: bool, is_critical: bool) -> dict[str, Any]:
    took = EMPTY
    if task.started_at:
        took = duration(((task.finished_at or timezone.now()) - task.started_at).total_seconds())
    return {
        "link": task_link(task.pk, actor=task.actor),
        "status": badge(task.status, task.get_status_display()),
        "took": took,
        "is_current": is_current,
        "is_critical": is_critical,
    }
