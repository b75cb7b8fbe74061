"""``callboard dlq``: list, show, redrive, discard."""

from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.contract.dead_letters import FILTERS, dead_letter_as_dict, lenses
from tasks.contract.sight import Sees
from tasks.lifecycle import Author
from tasks.management.callboard import lists, parsing, verbs
from tasks.management.callboard.output import WIDE, WIDEST, Column, Output
from tasks.models import Attempt
from tasks.states import ObjectKind, Resolution

_LIST = (
    Column("ID", "id"),
    Column("ACTOR", "actor", wraps=True),
    Column("ERROR", "error.type", wraps=True),
    Column("DIED", "died_at"),
    Column("REASON", "reason", from_width=WIDE),
    Column("RESOLUTION", "resolution", from_width=WIDE),
    Column("MESSAGE", "error.message", wraps=True, from_width=WIDE),
    Column("TASK", "task_id", from_width=WIDEST),
)


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(
        commands, "dlq", help="look at dead letters, re-drive or discard them",
        examples=["dlq list --actor send_mail", "dlq show ID", "dlq redrive ID ID", "dlq discard ID"],
    )  # fmt: skip
    listing = parsing.add_command(
        nouns, "list", list_letters, help="list open dead letters, newest first",
        examples=[
            "dlq list --actor send_mail --reason max_retries_exceeded",
            "dlq list --resolution redriven",
            f"dlq list --actor send_mail --limit {lists.MOST_LISTED} -q | xargs manage.py callboard dlq redrive",
        ],
    )  # fmt: skip
    lists.add_options(listing, FILTERS)
    lists.add_secrets_option(listing)
    listing.add_argument("--all", action="store_true", dest="is_all", help="include resolved ones")
    add_verb = partial(parsing.add_verb, nouns, noun="dlq", of="dead letters")
    lists.add_secrets_option(
        parsing.add_show(nouns, show, noun="dlq", help="show a dead letter and its traceback", of="dead letter")
    )
    add_verb("redrive", redrive, help="run the tasks of dead letters again, with a fresh set of retries")
    add_verb("discard", discard, help="resolve dead letters without running their tasks again")


def list_letters(options: Namespace, out: Output) -> None:
    """List dead letters."""
    rows = DeadLetter.objects.all()
    if not (options.is_all or lists.has_filter(options, "resolution")):
        rows = rows.open()
    lists.show(rows, options, out, filters=FILTERS, write=partial(_as_dicts, sees=lists.sees(options)), columns=_LIST)


def show(options: Namespace, out: Output) -> None:
    """Show one dead letter."""
    letter = lists.find(DeadLetter.objects.all(), options.id)
    attempt = Attempt.objects.filter(task_id=letter.task_id, number=letter.attempt).first()
    sees = lists.sees(options)
    lens = lenses([letter], sees=sees)[letter.pk]
    traceback, note = (lens.text(attempt.traceback), lens.text(attempt.note)) if attempt else ("", "")
    (record,) = _as_dicts([letter], sees=sees)
    out.record({**record, "note": note, "traceback": traceback}, hidden=("url", "task_url", "traceback"))
    if traceback and not out.is_json:
        out.text(traceback, title="traceback")


def redrive(options: Namespace, out: Output) -> None:
    """Re-drive dead letters."""
    verbs.apply(options, _redrive, out, name="redrive", kind=ObjectKind.DEAD_LETTER)


def discard(options: Namespace, out: Output) -> None:
    """Discard dead letters."""
    verbs.apply(options, _discard, out, name="discard", kind=ObjectKind.DEAD_LETTER)


def _redrive(letter_id: UUID, by: Author) -> str:
    return lifecycle.redrive(letter_id, by=by)


def _discard(letter_id: UUID, by: Author) -> str:
    lifecycle.discard(letter_id, by=by)
    return Resolution.DISCARDED


def _as_dicts(letters: Sequence[DeadLetter], *, sees: Sees) -> list[dict[str, Any]]:
    """Write dead letters as the REST API does."""
    urls = {"url": lists.address("api-dlq"), "task_url": lists.address("api-tasks")}
    seen = lenses(letters, sees=sees)
    return [dead_letter_as_dict(letter, lens=seen[letter.pk], **urls) for letter in letters]
