"""One verb for several ids: each id is tried and printed, and one refusal makes the command fail."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from tasks.errors import CallboardError
from tasks.management.callboard.output import Column, Output

_COLUMNS = (Column("ID", "id"), Column("STATUS", "status"), Column("ERROR", "error.message", wraps=True))


def apply(ids: Sequence[UUID], verb: Callable[[UUID], str], out: Output) -> None:
    """Call a verb for each id, and print the new status or the reason of the refusal.

    Raises:
        CommandError: at least one was refused.
    """
    results: list[dict[str, Any]] = []
    try:
        with out.progress("done", len(ids)) as tell:
            for id in ids:
                results.append(_try(id, verb))
                tell(len(results))
    finally:
        # Also after Ctrl-C: some verbs have been carried out.
        out.rows(results, _COLUMNS)
    refused = sum(result["error"] is not None for result in results)
    if refused:
        raise CommandError(f"{refused} of {len(results)} refused")


def _try(id: UUID, verb: Callable[[UUID], str]) -> dict[str, Any]:
    try:
        return {"id": str(id), "status": str(verb(id)), "error": None}
    except CallboardError as error:
        return {"id": str(id), "status": "refused", "error": {"code": error.code, "message": error.detail}}
