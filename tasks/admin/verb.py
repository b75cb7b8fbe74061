"""The verb: something an operator does to rows of the admin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.contract.access import Caller
from tasks.lifecycle import Author
from tasks.states import OperationVerb


@dataclass(frozen=True)
class Whole:
    """What rows belong to and a verb acts on as a whole.

    Parameters:
        name: as in "3 tasks of the {workflow} of act".
        with_more: keeps the rows that belong to one with other rows.
        ids_of: finds the ids of all rows of a row's whole that this caller may do it to.
    """

    name: str
    with_more: Callable[[Any], Any]
    ids_of: Callable[[Any, Caller], Sequence[Any]]


@dataclass(frozen=True)
class Verb:
    """Something an operator does to rows.

    Parameters:
        name: in addresses, as in "cancel".
        label: on buttons above a list and on a row's page.
        command: as in "Cancel {}"; asks on the confirmation page and is its button.
        outcome: as in "will be cancelled".
        done: as in "3 tasks cancelled".
        permission: required to use the verb.
        effect: tells the operator what will happen.
        condition: tells the operator which rows the verb applies to.
        legal: keeps these rows.
        run: applies the verb to the rows with these ids for this author; returns how many it changed.
        many: the operation that does it to all matches of a list; None does at most ``confirmation.MAX_AT_ONCE``.
        whole: what it acts on when it is asked for one row. Such a verb is not offered above lists.
    """

    name: str
    label: str
    command: str
    outcome: str
    done: str
    permission: str
    effect: str
    condition: str
    legal: Callable[[Any], Any]
    run: Callable[[Sequence[Any], Author], int]
    is_danger: bool = False
    many: OperationVerb | None = None
    whole: Whole | None = None

    def offered(self, rows: Any) -> Any:
        """Keep the rows whose pages have its button: to look through a whole would make a page slow."""
        return self.whole.with_more(rows) if self.whole else self.legal(rows)


def one_by_one(act: Callable[[Any, Author], Any], *, refusals: tuple[type[Exception], ...]) -> Callable[..., int]:
    """Make a batch function from a function of one row; rows that it refuses are skipped."""

    def run(ids: Sequence[Any], by: Author) -> int:
        return sum(_succeeds(act, id, by, refusals) for id in ids)

    return run


def _succeeds(act: Callable[[Any, Author], Any], id: Any, by: Author, refusals: tuple[type[Exception], ...]) -> bool:
    try:
        act(id, by)
    except refusals:
        return False
    return True
