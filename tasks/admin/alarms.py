"""Alarms: sentences that say what is wrong, since when, and what the reader can do. The worst come first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html

from tasks.admin.formatting import count_text, duration, escape_invisible, local, shortened, time_element
from tasks.admin.operator_log import who
from tasks.contract import readiness
from tasks.contract.access import PAUSE_QUEUE, VIEW_FAILURE, VIEW_JOURNAL, VIEW_QUEUE, VIEW_TASK, VIEW_WORKER
from tasks.models import Journal, Worker
from tasks.queries import stats
from tasks.queries.failing import Failing
from tasks.queries.queue_stats import QueueStats
from tasks.queries.stats import Series, Tally, Window
from tasks.states import ObjectKind, Status, TaskOutcome

#: Deaths of the last so many seconds are compared with those before, in the same hour.
RECENT_SECONDS = 600
#: Fewer deaths, or a smaller share of the runs, raise no alarm.
FEWEST_DEATHS, SMALLEST_SHARE = 5, 0.02
#: Nor does a share that is not more than so many times the share of before.
TIMES_BEFORE = 3
#: A served queue is behind when its oldest due task has waited longer.
LONG_WAIT_SECONDS = 300
#: Alarms of the same kind on one page.
MOST_OF_A_KIND = 3
MAX_NAME_LENGTH = 60
#: Deaths count as one flood until so many minutes pass without one.
QUIET_MINUTES = 5


@dataclass(frozen=True)
class Button:
    """What the reader can do: a link, or a verb, which is a POST that asks for confirmation."""

    label: str
    url: str
    is_verb: bool = False


@dataclass(frozen=True)
class Alarm:
    """One sentence."""

    #: "red" or "amber".
    kind: str
    text: str
    buttons: Sequence[Button] = ()


@dataclass(frozen=True)
class Observed:
    """What alarms are read from; what this user may not see is empty, or None."""

    queues: Sequence[QueueStats]
    failing: Sequence[Failing]
    errors: Mapping[str, str]
    #: By actor: the last ``RECENT_SECONDS``, and the whole last hour.
    recent: Mapping[str, Tally]
    hour: Mapping[str, Tally]
    leads_until: datetime | None
    now: datetime
    components: Mapping[str, str]


def alarms(user: Any, seen: Observed) -> list[Alarm]:
    """List what is wrong, red before amber."""
    found = [
        *_without_leader(seen),
        *_broken(seen),
        *(_unserved(user, seen) if user.has_perm(VIEW_QUEUE.permission) else ()),
        *(_dying(user, seen) if user.has_perm(VIEW_TASK.permission) else ()),
        *(_workers(user) if user.has_perm(VIEW_WORKER.permission) else ()),
        *(_paused(user, seen) if user.has_perm(VIEW_QUEUE.permission) else ()),
        *(_behind(user, seen) if user.has_perm(VIEW_QUEUE.permission) else ()),
    ]
    return sorted(found, key=lambda one: one.kind != "red")


def _without_leader(seen: Observed) -> Iterator[Alarm]:
    if seen.leads_until is None:
        text = "No scheduler is running, so no tasks are dispatched. Start one with manage.py runscheduler."
        yield Alarm("red", text)
    elif seen.leads_until <= seen.now:
        yield Alarm(
            "red",
            format_html(
                "<b>No scheduler has been running</b> since {}, so no tasks are dispatched. "
                "Start one with manage.py runscheduler.",
                _since_text(seen.leads_until, seen.now),
            ),
        )


_COMPONENTS = {
    "broker": "The broker does not answer, so no tasks reach the workers. Submissions are accepted and wait.",
    "limiter": "The Redis of the submission limits does not answer.",
    "migrations": "Migrations are missing. Run manage.py migrate.",
}


def _broken(seen: Observed) -> Iterator[Alarm]:
    for name, text in _COMPONENTS.items():
        if seen.components.get(name, readiness.OK) != readiness.OK:
            yield Alarm("red" if name != "limiter" else "amber", text)


def _unserved(user: Any, seen: Observed) -> Iterator[Alarm]:
    due = [one for one in seen.queues if one.oldest_due_seconds is not None and not one.threads and not one.paused_at]
    for one in due[:MOST_OF_A_KIND]:
        text = format_html(
            "<b>No worker serves queue {}.</b> {}, the oldest for {}.",
            _name(one.name),
            _tasks(one),
            duration(one.oldest_due_seconds or 0),
        )
        yield Alarm("red", text, [*_tasks_button(user, one.name), *_workers_button(user)])


def _dying(user: Any, seen: Observed) -> Iterator[Alarm]:
    for actor in _actors_that_die(seen)[:MOST_OF_A_KIND]:
        recent, before = seen.recent[actor], _before(seen, actor)
        began = _since(stats.series(Window.HOUR, actor=actor))
        deaths = recent.of(TaskOutcome.DEAD)
        was = f", before {before.death_share:.1%}" if before.death_share is not None else ""
        text = format_html(
            "<b>{} is failing.</b> {} of its last {} runs died{}{}{}.",
            _name(actor),
            count_text(deaths),
            count_text(recent.ended),
            format_html(" since {}", _since_text(began, seen.now)) if began else "",
            _mostly(seen, actor),
            was,
        )
        yield Alarm("red", text, [*_failures_button(user, actor), *_pause_button(user, seen, actor)])


def _actors_that_die(seen: Observed) -> list[str]:
    """Name the actors that die more often than before, most deaths first."""
    found = []
    for actor, recent in seen.recent.items():
        deaths, share, before = recent.of(TaskOutcome.DEAD), recent.death_share or 0.0, _before(seen, actor).death_share
        if deaths >= FEWEST_DEATHS and share >= SMALLEST_SHARE and share > TIMES_BEFORE * (before or 0.0):
            found.append((-deaths, actor))
    return [actor for _, actor in sorted(found)]


def _before(seen: Observed, actor: str) -> Tally:
    hour, recent = seen.hour.get(actor, Tally()), seen.recent[actor]
    return Tally({name: max(0, count - recent.of(name)) for name, count in hour.counts.items()})


def _since(points: Series) -> datetime | None:
    """Find the minute in which the present flood of deaths began."""
    began, quiet = None, 0
    for point in reversed(points):
        if point.of(TaskOutcome.DEAD):
            began, quiet = point.start, 0
        elif began is not None:
            quiet += 1
            if quiet >= QUIET_MINUTES:
                break
    return began


def _since_text(began: datetime, now: datetime) -> str:
    text = f"{local(began, '%H:%M %Z')} ({duration((now - began).total_seconds())})"
    return time_element(began, text)


def _mostly(seen: Observed, actor: str) -> str:
    causes = [one.failure.pk for one in seen.failing if one.failure.actor == actor]
    error = seen.errors.get(causes[0], "") if causes else ""
    return format_html(", most with <code>{}</code>", shortened(error, 100)) if error else ""


def _workers(user: Any) -> Iterator[Alarm]:
    if not Worker.objects.taking().exists():
        yield Alarm("red", "No worker is taking tasks. Start one with manage.py runworkers.", _workers_button(user))
    if silent := Worker.objects.silent().count():
        text = f"{silent} {'workers are' if silent > 1 else 'worker is'} silent. Their tasks go back to other workers."
        yield Alarm("amber", text, _workers_button(user))


def _paused(user: Any, seen: Observed) -> Iterator[Alarm]:
    paused = [one for one in seen.queues if one.paused_at]
    sees_journal = paused and user.has_perm(VIEW_JOURNAL.permission)
    authors = _who_paused([one.name for one in paused]) if sees_journal else {}
    for one in paused[:MOST_OF_A_KIND]:
        text = format_html(
            "Queue <b>{}</b> has been paused for {}{}. {}.",
            _name(one.name),
            duration((seen.now - one.paused_at).total_seconds()) if one.paused_at else "",
            authors.get(one.name, ""),
            _tasks(one),
        )
        yield Alarm("amber", text, _queue_verb(user, one.name, "resume"))
    if len(paused) > MOST_OF_A_KIND:
        more = Button("Queues", reverse("admin:callboard_queue_changelist"))
        yield Alarm("amber", f"{len(paused) - MOST_OF_A_KIND} more queues are paused.", [more])


def _who_paused(names: Sequence[str]) -> dict[str, str]:
    rows = Journal.objects.of_kind([ObjectKind.QUEUE]).of_verb("pause").filter(object_id__in=names).order_by("id")
    return {
        row.object_id: format_html(
            " by {}{}",
            who(row),
            f" ({escape_invisible(row.reason)})" if row.reason else "",
        )
        for row in rows.reverse()[:50][::-1]
    }


def _behind(user: Any, seen: Observed) -> Iterator[Alarm]:
    slow = [
        one
        for one in seen.queues
        if one.threads and not one.paused_at and (one.oldest_due_seconds or 0) > LONG_WAIT_SECONDS
    ]
    for one in sorted(slow, key=lambda stat: -(stat.oldest_due_seconds or 0))[:MOST_OF_A_KIND]:
        text = format_html(
            "Queue <b>{}</b> is behind: its oldest due task has waited for {}. {} for {} threads.",
            _name(one.name),
            duration(one.oldest_due_seconds or 0),
            _tasks(one),
            count_text(one.threads),
        )
        yield Alarm("amber", text, _tasks_button(user, one.name))


def _name(name: str) -> str:
    return shortened(name, MAX_NAME_LENGTH)


def _tasks(one: QueueStats) -> str:
    number = count_text(one.waiting.number, is_capped=one.waiting.is_capped)
    return f"{number} {'task waits' if number == '1' else 'tasks wait'}"


def _tasks_button(user: Any, queue: str) -> list[Button]:
    if not user.has_perm(VIEW_TASK.permission):
        return []
    query = urlencode({"queue": queue, "status": Status.PENDING.value})
    return [Button("See its tasks", f"{reverse('admin:callboard_task_changelist')}?{query}")]


def _workers_button(user: Any) -> list[Button]:
    may = user.has_perm(VIEW_WORKER.permission)
    return [Button("Workers", reverse("admin:callboard_worker_changelist"))] if may else []


def _failures_button(user: Any, actor: str) -> list[Button]:
    if not user.has_perm(VIEW_FAILURE.permission):
        return []
    return [Button("See the failure", f"{reverse('admin:dlq_failure_changelist')}?{urlencode({'actor': actor})}")]


def _pause_button(user: Any, seen: Observed, actor: str) -> list[Button]:
    """Offer to pause the queue in which the actor dies."""
    queues = stats.queues_of(actor, seconds=RECENT_SECONDS)
    paused = {one.name for one in seen.queues if one.paused_at}
    return _queue_verb(user, queues[0], "pause") if queues and queues[0] not in paused else []


def _queue_verb(user: Any, queue: str, verb: str) -> list[Button]:
    if not (user.has_perm(PAUSE_QUEUE.permission) and user.has_perm(VIEW_QUEUE.permission)):
        return []
    label = "Resume" if verb == "resume" else f"Pause {shortened(queue, 20)}"
    return [Button(label, reverse("admin:callboard_queue_do", args=[quote(queue), verb]), is_verb=True)]
