"""Pages on dead letters: what died, why, and re-drive and discard."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from dlq.models import DeadLetter
from dlq.querysets import DeadLetterQuerySet
from tasks.admin.filters import ActorFilter, ChipsFilter, KnownValuesFilter, QueueFilter
from tasks.admin.show import age, badge, block, column, moment, number, shortened, visible
from tasks.admin.verbs import OperatedAdmin, Verb
from tasks.lifecycle.letters import discard_many, redrive_many
from tasks.states import DeathReason, Resolution

#: Open ones are counted up to here.
MOST_COUNTED = 1_000
LONGEST_ERROR = 120


class ResolutionFilter(ChipsFilter):
    """By what was done about them."""

    title = parameter_name = "resolution"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the resolutions."""
        return [(resolution.name, str(resolution.label)) for resolution in Resolution]

    def counts(self) -> Mapping[str, str]:
        """Count the open ones; no index leads to the others."""
        count = DeadLetter.objects.open()[: MOST_COUNTED + 1].count()
        return {Resolution.OPEN.name: number(min(count, MOST_COUNTED), is_capped=count > MOST_COUNTED)}

    def narrowed(self, rows: DeadLetterQuerySet, value: str) -> QuerySet[DeadLetter]:
        """Keep one resolution."""
        return rows.resolved_as(Resolution[value])


class ReasonFilter(KnownValuesFilter):
    """By why the task died."""

    title = parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the reasons."""
        return DeathReason.choices

    def narrowed(self, rows: DeadLetterQuerySet, value: str) -> QuerySet[DeadLetter]:
        """Keep one reason."""
        return rows.died_of(DeathReason(value))


_RESOLUTION = column(
    "resolution",
    lambda letter: badge(Resolution(letter.resolution).name, letter.get_resolution_display()),
)
_REASON = column("reason", lambda letter: letter.get_reason_display())


def _task_link(letter: DeadLetter) -> str:
    address = reverse("admin:tasks_task_change", args=[letter.task_id])
    return format_html('<a href="{}"><code>{}</code></a>', address, letter.task_id)


def _name(letter: DeadLetter) -> str:
    return format_html(
        '<span class="name" title="{}">{}</span> <code title="{}">…{}</code>',
        visible(letter.actor),
        shortened(letter.actor, 60),
        letter.pk,
        str(letter.pk)[-8:],
    )


def _error(letter: DeadLetter) -> str:
    text = f"{letter.error_type}: {letter.error_message}".strip(": ")
    return format_html(
        '<span class="error-line" title="{}">{}</span>', visible(text[:500]), shortened(text, LONGEST_ERROR)
    )


REDRIVE = Verb(
    name="redrive",
    label="Re-drive",
    done="re-driven",
    permission="dlq.redrive_deadletter",
    effect="The task gets a second life, with all its retries, and runs as soon as its priority allows.",
    legal=lambda rows: rows.open(),
    run=lambda ids, by: len(redrive_many(ids, by=by)),
)
DISCARD = Verb(
    name="discard",
    label="Discard",
    done="discarded",
    permission="dlq.discard_deadletter",
    effect="The dead letter counts as dealt with. Its task stays dead and is removed after a while.",
    legal=lambda rows: rows.open(),
    run=lambda ids, by: len(discard_many(ids, by=by)),
    is_danger=True,
)


@admin.register(DeadLetter)
class DeadLetterAdmin(OperatedAdmin):
    """What died, why, and what was done about it."""

    verbs = (REDRIVE, DISCARD)
    state_field = "resolution"
    nothing = "Nothing died, or not like that."
    list_display = (
        column("dead letter", _name),
        _RESOLUTION,
        _REASON,
        column("error", _error),
        "queue",
        age("died_at"),
    )
    list_filter = (ResolutionFilter, ReasonFilter, QueueFilter, ActorFilter)
    fieldsets: ClassVar[Any] = (
        (
            None,
            {
                "fields": (
                    _RESOLUTION,
                    column("task", _task_link),
                    "actor",
                    _REASON,
                    column("error", lambda letter: block(f"{letter.error_type}: {letter.error_message}".strip(": "))),
                    moment("died_at"),
                    "queue",
                    "attempt",
                    "owner",
                    "fingerprint",
                )
            },
        ),
        ("Resolution", {"fields": ("resolved_by", moment("resolved_at"))}),
    )
