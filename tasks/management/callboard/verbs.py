"""One verb for several ids: each id is tried and printed, and one refusal makes the command fail."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from tasks.errors import CallboardError
from tasks.lifecycle import Author
from tasks.lifecycle.journal import summarise
from tasks.management.callboard import operator
from tasks.management.callboard.output import Column, Output
from tasks.states import ObjectKind

_COLUMNS = (Column("ID", "id"), Column("STATUS", "status"), Column("ERROR", "error.message", wraps=True))


def apply(options: Namespace, verb: Callable[[UUID, Author], str], out: Output, *, name: str, kind: ObjectKind) -> None:
    """Call a verb for each id, and print the new status or the reason of the refusal.

    Parameters:
        name: of the verb, as the journal has it.
        kind: what the ids are of.

    Raises:
        CommandError: at least one was refused.
    """
    ids: Sequence[UUID] = options.ids
    by = operator.author(options, of_many=len(ids) > 1)
    results: list[dict[str, Any]] = []
    try:
        with out.progress("done", len(ids)) as tell:
            for id in ids:
                results.append(_try(id, verb, by))
                tell(len(results))
    finally:
        # Also after Ctrl-C: some verbs have been carried out.
        if len(ids) > 1:
            summarise(by, name, kind)
        out.rows(results, _COLUMNS)
    refused = sum(result["error"] is not None for result in results)
    if refused:
        raise CommandError(f"{refused} of {len(results)} refused")


def _try(id: UUID, verb: Callable[[UUID, Author], str], by: Author) -> dict[str, Any]:
    try:
        return {"id": str(id), "status": str(verb(id, by)), "error": None}
    except CallboardError as error:
        return {"id": str(id), "status": "refused", "error": {"code": error.code, "message": error.detail}}
