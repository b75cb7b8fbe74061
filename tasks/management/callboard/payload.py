"""The payload on the command line: a JSON object, a file, or pairs."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tasks.contract import fields
from tasks.management.callboard.exit_codes import USAGE


def add_argument(parser: CommandParser, *, help: str = "the actor's arguments") -> None:  # noqa: A002 - argparse's word
    """Define ``--payload``."""
    parser.add_argument(
        "--payload", nargs="+", default=[], metavar="JSON|@FILE|KEY=VALUE",
        help=f"{help}: a JSON object, a file with one (@- is standard input), or pairs whose values are JSON "
        "or else text",
    )  # fmt: skip


def read(words: Sequence[str]) -> dict[str, Any]:
    """Read the payload from the words of the command line.

    Raises:
        CommandError: they have none of the three forms.
    """
    if len(words) == 1 and words[0].startswith("@"):
        return _object(_file(words[0][1:]))
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        return _object(words[0])
    return dict(_pair(word) for word in words)


def _file(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _usage(f"cannot read {name}: {error}") from error


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _usage(f"expected a JSON object: {error}") from error
    if not isinstance(found, dict):
        raise _usage(f"expected a JSON object, got {fields.quoted(found)}")
    return found


def _pair(word: str) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise _usage(f"expected a JSON object, @file or key=value, got {fields.quoted(word)}")
    try:
        return key, json.loads(text)
    except (ValueError, RecursionError):
        return key, text


def _usage(message: str) -> CommandError:
    return CommandError(f"--payload: {message}", returncode=USAGE)
