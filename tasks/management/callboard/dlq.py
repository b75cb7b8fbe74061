"""``callboard dlq``: list, show, redrive, discard."""

from argparse import Namespace
from functools import partial
from typing import Any
from uuid import UUID

from django.urls import reverse

from dlq.api import FILTERS, dead_letter_as_dict
from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.api.filters import filtered
from tasks.errors import NotFound
from tasks.management.callboard import operator, parsing, verbs
from tasks.management.callboard.output import Column, Output
from tasks.models import Attempt
from tasks.states import Resolution

_LIST = (
    Column("ID", "id"),
    Column("ACTOR", "actor"),
    Column("REASON", "reason"),
    Column("DIED", "died_at"),
    Column("RESOLUTION", "resolution", is_extra=True),
    Column("TASK", "task_id", is_extra=True),
    Column("ERROR", "error.type", is_extra=True),
    Column("MESSAGE", "error.message", is_extra=True),
)


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(commands, "dlq", help="look at dead letters, re-drive or discard them")
    listing = parsing.add_command(
        nouns, "list", list_letters, help="list dead letters that nobody has dealt with, newest first",
        examples=[
            "dlq list --actor send_mail --reason max_retries_exceeded",
            "dlq list --resolution redriven",
            "dlq list --actor send_mail -q | xargs manage.py callboard dlq redrive",
        ],
    )  # fmt: skip
    parsing.add_list_options(listing, FILTERS)
    listing.add_argument("--all", action="store_true", dest="is_all", help="resolved ones too")
    showing = parsing.add_command(
        nouns, "show", show, help="show a dead letter and the traceback",
        examples=["dlq show 0198d3c2-7a31-7c4e-9d55-1f2a3b4c5d6e"],
    )  # fmt: skip
    showing.add_argument("id", type=parsing.identifier, metavar="ID", help="of a dead letter")
    for name, run, text in (
        ("redrive", redrive, "give the tasks of dead letters a second life"),
        ("discard", discard, "resolve dead letters without running their tasks again"),
    ):
        one = parsing.add_command(nouns, name, run, help=text, examples=[f"dlq {name} ID ID ID"])
        parsing.add_ids(one, of="dead letters")


def list_letters(options: Namespace, out: Output) -> None:
    """List dead letters."""
    limit = parsing.limit(options)
    rows = DeadLetter.objects.all()
    if not (options.is_all or options.by_resolution):
        rows = rows.open()
    rows = filtered(rows, parsing.query(options, FILTERS), FILTERS).newest_first()  # type: ignore[attr-defined]
    found = list(rows[: limit + 1])
    if options.quiet:
        out.lines(str(letter.pk) for letter in found[:limit])
    else:
        out.rows([_as_dict(letter) for letter in found[:limit]], _LIST, has_more=len(found) > limit)


def show(options: Namespace, out: Output) -> None:
    """Show one dead letter."""
    letter = DeadLetter.objects.filter(pk=options.id).first()
    if letter is None:
        raise NotFound(f"there is no dead letter {options.id}")
    attempt = Attempt.objects.filter(task_id=letter.task_id, number=letter.attempt).first()
    traceback = attempt.traceback if attempt else ""
    out.record({**_as_dict(letter), "traceback": traceback}, hidden=("url", "task_url", "traceback"))
    if traceback and not out.is_json:
        out.text(traceback, title="traceback")


def redrive(options: Namespace, out: Output) -> None:
    """Re-drive dead letters."""
    verbs.apply(options.ids, partial(lifecycle.redrive, by=operator.name()), out)


def discard(options: Namespace, out: Output) -> None:
    """Discard dead letters."""

    def discard_one(letter_id: UUID) -> str:
        lifecycle.discard(letter_id, by=operator.name())
        return Resolution.DISCARDED

    verbs.apply(options.ids, discard_one, out)


def _as_dict(letter: DeadLetter) -> dict[str, Any]:
    """Give a dead letter the shape of the REST API; addresses without the host, which no command knows."""
    letters, tasks = reverse("api-dlq"), reverse("api-tasks")
    return dead_letter_as_dict(letter, url=lambda id: f"{letters}/{id}", task_url=lambda id: f"{tasks}/{id}")
