"""``callboard operations``: list, show, pause, resume, cancel, undo."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from tasks.contract import operations as contract
from tasks.contract.operations import FILTERS, operation_as_dict
from tasks.lifecycle import Author, operations
from tasks.management.callboard import lists, parsing, verbs
from tasks.management.callboard.output import WIDE, Column, Output
from tasks.models import Operation
from tasks.states import ObjectKind

COLUMNS = (
    Column("ID", "id"),
    Column("VERB", "verb"),
    Column("STATE", "state"),
    Column("TOTAL", "total", is_number=True),
    Column("LEFT", "left", is_number=True),
    Column("SUCCEEDED", "succeeded", is_number=True),
    Column("DIED AGAIN", "died_again", is_number=True),
    Column("SKIPPED", "skipped", is_number=True, from_width=WIDE),
    Column("BY", "by", from_width=WIDE),
    Column("REASON", "reason", wraps=True, from_width=WIDE),
)


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(
        commands, "operations", help="look at acts on many rows, pause, resume, cancel or undo them",
        examples=["operations list --state running", "operations show ID", "operations pause ID"],
    )  # fmt: skip
    listing = parsing.add_command(
        nouns, "list", list_operations, help="list operations, newest first",
        examples=["operations list", "operations list --verb redrive --state stopped"],
    )  # fmt: skip
    lists.add_options(listing, FILTERS)
    parsing.add_show(nouns, show, noun="operations", help="show an operation", of="operation")
    add_verb = partial(parsing.add_verb, nouns, noun="operations", of="operations")
    add_verb("pause", pause, help="let operations rest")
    add_verb("resume", resume, help="start previews, and let paused or stopped operations go on")
    add_verb("cancel", cancel, help="end operations; what they have done stays done")
    add_verb("undo", undo, help="begin operations that restore what ended discards have discarded")


def list_operations(options: Namespace, out: Output) -> None:
    """List operations."""
    lists.show(Operation.objects.all(), options, out, filters=FILTERS, write=as_dicts, columns=COLUMNS)


def show(options: Namespace, out: Output) -> None:
    """Show one operation."""
    (record,) = as_dicts([lists.find(Operation.objects.all(), options.id)])
    out.record(record, hidden=("url",))


def pause(options: Namespace, out: Output) -> None:
    """Pause operations."""
    _apply(operations.pause, options, out, name="pause")


def resume(options: Namespace, out: Output) -> None:
    """Start operations, or let them go on."""
    _apply(operations.resume, options, out, name="resume")


def cancel(options: Namespace, out: Output) -> None:
    """Cancel operations."""
    _apply(operations.cancel, options, out, name="cancel")


def undo(options: Namespace, out: Output) -> None:
    """Undo discards."""

    def begin(id: UUID, *, by: Author) -> Operation:
        return contract.undo(lists.find(Operation.objects.all(), id), caller=None, by=by)

    _apply(begin, options, out, name="undo")


def _apply(verb: Callable[..., Operation], options: Namespace, out: Output, *, name: str) -> None:
    def act(id: UUID, by: Author) -> str:
        return str(verb(id, by=by).state)

    verbs.apply(options, act, out, name=name, kind=ObjectKind.OPERATION)


def as_dicts(rows: Sequence[Operation]) -> list[dict[str, Any]]:
    """Write operations as the REST API does."""
    url = lists.address("api-operations")
    return [operation_as_dict(row, url=url) for row in rows]
