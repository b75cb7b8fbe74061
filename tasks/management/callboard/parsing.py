"""Parsers of the operators' commands: nouns, their commands, and the options that all of them have."""

from argparse import SUPPRESS, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeAlias
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from tasks.contract import fields
from tasks.management.callboard.exit_codes import USAGE
from tasks.management.callboard.output import Output

Commands: TypeAlias = "_SubParsersAction[CommandParser]"
Run: TypeAlias = Callable[[Namespace, Output], None]


class Parser(CommandParser):
    """Reports errors in one line that names the command."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse unknown arguments here: the parser of all commands would not name the command."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """End the command with the message, without the usage, which is longer."""
        told = f"{self.prog}: {message} (--help shows what it takes)"
        if not self.called_from_command_line:
            raise CommandError(told, returncode=USAGE)
        self.exit(USAGE, f"{told}\n")


def add_nouns(parser: CommandParser) -> Commands:
    """Add the group of nouns, and of commands without a noun."""
    # Without this, the whole usage would come before the name of each command.
    name, parser.usage = parser.prog, f"{parser.prog} NOUN [COMMAND] [options]"
    return parser.add_subparsers(
        title="nouns and commands", metavar="NOUN", required=True, prog=name, parser_class=Parser
    )


def add_noun(commands: Commands, name: str, *, help: str, examples: Iterable[str]) -> Commands:  # noqa: A002 - argparse's word
    """Add a noun, and return the group of its commands.

    Parameters:
        examples: command lines without ``manage.py callboard``.
    """
    parser = _add(commands, name, help=help, examples=examples)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def add_command(commands: Commands, name: str, run: Run, *, help: str, examples: Iterable[str]) -> CommandParser:  # noqa: A002
    """Add a command with help, examples and ``--json``."""
    parser = _add(commands, name, help=help, examples=examples)
    parser.add_argument("--json", action="store_true", dest="is_json", help="print JSON, with the keys of the REST API")
    # Django takes this option before the noun; here it works among the other options.
    parser.add_argument("--no-color", action="store_true", default=SUPPRESS, help="print without colours")
    parser.set_defaults(run=run)
    return parser


def add_show(commands: Commands, run: Run, *, noun: str, help: str, of: str) -> CommandParser:  # noqa: A002
    """Add the command that shows one row, and return its parser."""
    example = f"{noun} show 0198d3c2-7a31-7c4e-9d55-1f2a3b4c5d6e"
    parser = add_command(commands, "show", run, help=help, examples=[example])
    parser.add_argument("id", type=identifier, metavar="ID", help=f"the id of a {of}")
    return parser


def add_verb(
    commands: Commands,
    name: str,
    run: Run,
    *,
    noun: str,
    help: str,  # noqa: A002
    of: str,
    number: str = "+",
) -> CommandParser:
    """Add a command that applies a verb to rows, and return its parser.

    Parameters:
        number: of the ids, as ``nargs`` of argparse has it.
    """
    examples = [f"{noun} {name} ID ID ID", f"{noun} {name} ID --reason 'as agreed with Ada'"]
    parser = add_command(commands, name, run, help=help, examples=examples)
    parser.add_argument("ids", nargs=number, type=identifier, metavar="ID", help=f"ids of {of}")
    add_reason(parser)
    return parser


def add_reason(parser: CommandParser) -> None:
    """Add the option that says why somebody acts."""
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; the journal keeps it")


def read(name: str, reader: fields.Reader, value: Any) -> Any:
    """Read the value of an option with a reader of the contract.

    Raises:
        CommandError: the value is not valid; the message says what was expected.
    """
    try:
        return reader(value)
    except fields.InvalidValue as error:
        raise CommandError(f"{name}: {error}", returncode=USAGE) from error


def identifier(text: str) -> UUID:
    """Read an id.

    Raises:
        ArgumentTypeError: it is not a UUID; argparse expects this error.
    """
    try:
        found: UUID = fields.identifier(text)
    except fields.InvalidValue as error:
        raise ArgumentTypeError(str(error)) from error
    return found


def _add(commands: Commands, name: str, *, help: str, examples: Iterable[str]) -> CommandParser:  # noqa: A002
    lines = [f"  manage.py callboard {example}" for example in examples]
    return commands.add_parser(
        name,
        help=help,
        description=help,
        epilog="\n".join(["examples:", *lines]),
        formatter_class=RawDescriptionHelpFormatter,
    )
