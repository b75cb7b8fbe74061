"""The verb: something an operator does to rows of the admin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.lifecycle import Author


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
