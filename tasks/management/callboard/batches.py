"""``callboard batches``: list, show, close, cancel."""

from argparse import Namespace
from functools import partial
from uuid import UUID

from tasks.contract.batches import FILTERS, batch_as_dict
from tasks.lifecycle import Author, batches
from tasks.management.callboard import lists, parsing, verbs
from tasks.management.callboard.output import WIDE, Column, Output
from tasks.models import Batch
from tasks.states import ObjectKind

COLUMNS = (
    Column("ID", "id"),
    Column("NAME", "name", wraps=True),
    Column("STATUS", "status"),
    Column("TASKS", "total", is_number=True),
    Column("UNFINISHED", "unfinished", is_number=True),
    Column("DEAD", "dead", is_number=True),
    Column("CREATED", "created_at", from_width=WIDE),
)


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(
        commands, "batches", help="list, show, close and cancel batches",
        examples=["batches list --status running", "batches show ID", "batches cancel ID --reason 'started twice'"],
    )  # fmt: skip
    listing = parsing.add_command(
        nouns, "list", list_batches, help="list batches, newest first",
        examples=["batches list", "batches list --status running --json"],
    )  # fmt: skip
    lists.add_options(listing, FILTERS)
    parsing.add_show(nouns, show, noun="batches", help="show a batch and its counts", of="batch")
    add_verb = partial(parsing.add_verb, nouns, noun="batches", of="batches")
    add_verb("close", close, help="let batches take no further tasks, so that they can end")
    add_verb("cancel", cancel, help="close batches and cancel their tasks; ask running ones to stop")


def list_batches(options: Namespace, out: Output) -> None:
    """List batches."""
    url = lists.address("api-batches")
    lists.show(
        Batch.objects.with_news(), options, out, filters=FILTERS,
        write=lambda found: [batch_as_dict(one, url=url) for one in found], columns=COLUMNS,
    )  # fmt: skip


def show(options: Namespace, out: Output) -> None:
    """Show one batch."""
    out.record(batch_as_dict(batches.find(options.id), url=lists.address("api-batches")), hidden=("url",))


def close(options: Namespace, out: Output) -> None:
    """Close batches."""
    verbs.apply(options, _close, out, name="close", kind=ObjectKind.BATCH)


def cancel(options: Namespace, out: Output) -> None:
    """Cancel batches."""
    verbs.apply(options, _cancel, out, name="cancel", kind=ObjectKind.BATCH)


def _close(batch_id: UUID, by: Author) -> str:
    return batches.close(batch_id, by=by).status


def _cancel(batch_id: UUID, by: Author) -> str:
    return batches.cancel(batch_id, by=by).status
