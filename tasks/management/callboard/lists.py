"""Lists and single rows, filtered and written as in the REST API: tables, or ids for ``xargs``."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from django.core.management.base import CommandParser
from django.db.models import Model, QuerySet
from django.urls import reverse

from tasks.contract import fields
from tasks.contract.filters import Filter, filtered
from tasks.contract.pages import DEFAULT_LIMIT
from tasks.contract.sight import Sees, Sight
from tasks.errors import NotFound
from tasks.management.callboard import parsing
from tasks.management.callboard.output import Column, Output
from tasks.queries.scan import scan

#: More than a page of the API: one command should reach everything that a bad release broke.
MOST_LISTED = 10_000

_Row = TypeVar("_Row", bound=Model)


def add_options(parser: CommandParser, filters: Mapping[str, Filter]) -> None:
    """Define the filters of the REST API's list under the same names, and options on how much to print."""
    for name, one in filters.items():
        text = "may be repeated" if one.is_repeatable else None
        parser.add_argument(f"--{name.replace('_', '-')}", action="append", dest=_by(name), metavar="…", help=text)
    parser.add_argument(
        "--limit", type=int, default=DEFAULT_LIMIT, metavar="N",
        help=f"print at most N, 1 to {MOST_LISTED} (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="print only ids, one per line, for xargs")


def has_filter(options: Namespace, name: str) -> bool:
    """Tell whether a filter of ``add_options`` was given."""
    return getattr(options, _by(name)) is not None


def show(
    rows: QuerySet[_Row],
    options: Namespace,
    out: Output,
    *,
    filters: Mapping[str, Filter],
    write: Callable[[Sequence[_Row]], list[dict[str, Any]]],
    columns: Sequence[Column],
) -> None:
    """Print the rows that the options of ``add_options`` ask for, newest first (by id)."""
    rows, limit = matching(rows, options, filters=filters)
    if options.quiet:
        out.lines(str(pk) for pk in scan(rows.values_list("pk", flat=True), wanted=limit, whole=True).found)
        return
    found = scan(rows, wanted=limit + 1, whole=True).found
    out.rows(write(found[:limit]), columns, has_more=len(found) > limit)


def matching(rows: QuerySet[_Row], options: Namespace, *, filters: Mapping[str, Filter]) -> tuple[QuerySet[_Row], int]:
    """Read the options of ``add_options``: the rows that they ask for, and how many at most."""
    limit = parsing.read("--limit", fields.whole_number(1, MOST_LISTED), options.limit)
    return filtered(rows, _given(options, filters), filters), limit


def find(rows: QuerySet[_Row], pk: UUID) -> _Row:
    """Find one row.

    Raises:
        NotFound: there is no row with this id.
    """
    row = rows.filter(pk=pk).first()
    if row is None:
        raise NotFound(f"there is no {rows.model._meta.verbose_name} {pk}")
    return row


def add_secrets_option(parser: CommandParser) -> None:
    """Define the option that shows secrets, which are masked otherwise."""
    parser.add_argument(
        "--show-secrets", action="store_true", help="show passwords, tokens and the like, which are masked otherwise"
    )


def sees(options: Namespace) -> Sees:
    """Decide what a command shows of everybody's tasks: whoever runs it may read the database anyway."""
    sight = Sight.CLEAR if options.show_secrets else Sight.MASKED
    return lambda _owner_id: sight


def address(of: str) -> Callable[[str], str]:
    """Make the function that gives a row its address, without the host, which a command does not know.

    Parameters:
        of: the name of the list's URL.
    """
    base = reverse(of)
    return lambda pk: f"{base}/{pk}"


def _given(options: Namespace, filters: Mapping[str, Filter]) -> dict[str, list[str]]:
    return {name: getattr(options, _by(name)) for name in filters if has_filter(options, name)}


def _by(name: str) -> str:
    return f"by_{name}"
