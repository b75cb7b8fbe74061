"""The verb: something an operator does to rows of the admin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.contract.access import Caller
from tasks.lifecycle import Author
from tasks.states import OperationVerb


@dataclass(frozen=True)
class Whole:
    """The rows that belong together with one, as the tasks of a workflow do, and that a verb acts on as one.

    Parameters:
        name: as in "3 tasks of the {workflow} of act".
        beginning: finds the ids of the first rows of a row's whole, and tells whether these are all.
        ids_of: finds the ids of all rows of a row's whole that this caller may do it to.
    """

    name: str
    beginning: Callable[[Any], tuple[Sequence[Any], bool]]
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
        following: keeps the rows of a whole that change later because of the verb, though it does not act on them.
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
    following: Callable[[Any], Any] | None = None

    def is_offered(self, row: Any, rows: Any) -> bool:
        """Tell whether a row's page has its button; it has one for a whole that is too large to look through.

        Parameters:
            rows: all rows, to choose from.
        """
        ids, is_complete = self.whole.beginning(row) if self.whole else ([row.pk], True)
        if self.whole and len(ids) == 1:
            return False
        return not is_complete or self.legal(rows.filter(pk__in=ids)).exists()


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
