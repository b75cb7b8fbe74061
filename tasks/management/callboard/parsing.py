"""Parsers of the operators' commands: nouns, their commands, and what all of them take."""

from argparse import SUPPRESS, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.http import QueryDict

from tasks.api import fields
from tasks.api.filters import Filter
from tasks.api.pagination import DEFAULT_LIMIT, MOST_PER_PAGE
from tasks.management.callboard.output import Output

Commands: TypeAlias = "_SubParsersAction[CommandParser]"
Run: TypeAlias = Callable[[Namespace, Output], None]


def add_noun(commands: Commands, name: str, *, help: str) -> Commands:  # noqa: A002 - argparse's word
    """Add a noun, and return where its commands go."""
    parser = commands.add_parser(name, help=help, description=help)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def add_command(commands: Commands, name: str, run: Run, *, help: str, examples: Iterable[str]) -> CommandParser:  # noqa: A002
    """Add a command with its help, its examples and ``--json``.

    Parameters:
        examples: what follows ``manage.py callboard``.
    """
    lines = [f"  manage.py callboard {example}" for example in examples]
    parser = commands.add_parser(
        name,
        help=help,
        description=help,
        epilog="\n".join(["examples:", *lines]),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", dest="is_json", help="print JSON, with the keys of the REST API")
    # As Django has it in front of the noun, for who types it where all options are.
    parser.add_argument("--no-color", action="store_true", default=SUPPRESS, help="no colours on a terminal")
    parser.set_defaults(run=run)
    return parser


def add_ids(parser: CommandParser, *, of: str) -> None:
    """Take one id or several."""
    parser.add_argument("ids", nargs="+", type=identifier, metavar="ID", help=f"of {of}")


def add_list_options(parser: CommandParser, filters: Mapping[str, Filter]) -> None:
    """Take the filters of a list of the REST API, by the same names, and how much to print."""
    for name, one in filters.items():
        text = "may be repeated" if one.is_repeatable else None
        parser.add_argument(f"--{name.replace('_', '-')}", action="append", dest=f"by_{name}", metavar="…", help=text)
    parser.add_argument(
        "--limit",
        type=int,
        default=DEFAULT_LIMIT,
        metavar="N",
        help=f"at most so many, 1 to {MOST_PER_PAGE} (default: %(default)s)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print the ids only, one per line, for xargs")


def query(options: Namespace, filters: Mapping[str, Filter]) -> QueryDict:
    """Put the options of ``add_list_options`` into the form in which the REST API gets them."""
    parameters = QueryDict(mutable=True)
    for name in filters:
        if values := getattr(options, f"by_{name}"):
            parameters.setlist(name, values)
    return parameters


def limit(options: Namespace) -> int:
    """Read ``--limit``.

    Raises:
        CommandError: it is out of range.
    """
    found: int = read("--limit", fields.whole_number(1, MOST_PER_PAGE), options.limit)
    return found


def read(name: str, reader: fields.Reader, value: Any) -> Any:
    """Read one option's value as the API would.

    Raises:
        CommandError: it is not valid; says what was expected and what came.
    """
    try:
        return reader(value)
    except fields.Unfit as error:
        raise CommandError(f"{name}: {error}") from error


def identifier(text: str) -> UUID:
    """Read an id.

    Raises:
        CommandError: it is none.
    """
    found: UUID = read("ID", fields.identifier, text)
    return found
