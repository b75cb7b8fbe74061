"""Runs the operators' commands, in a pipe and on a terminal."""

import argparse
import io
import json
import re
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tasks.management.commands.callboard import Command

HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]tag[/red]\t\u202e\x9b"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def callboard(*words: str) -> str:
    """Run a command in a pipe."""
    out = io.StringIO()
    call_command("callboard", *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def callboard_json(*words: str) -> Any:
    return json.loads(callboard(*words, "--json"))


def on_terminal(*words: str, monkeypatch: pytest.MonkeyPatch, columns: int = 200) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    call_command("callboard", *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def without_styles(text: str) -> str:
    """Take out what makes bold, dim or coloured, and what fills a line."""
    return "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())


def refused(*words: str) -> tuple[str, str]:
    """Run a command that fails; give its one line and what it printed before."""
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("callboard", *words, stdout=out, stderr=io.StringIO())
    assert caught.value.returncode > 0
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value), out.getvalue()


def help_of(*words: str) -> str:
    """Give the help of a command as one line of text."""
    parser: Any = Command().create_parser("manage.py", "callboard")
    for word in words:
        (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        parser = commands.choices[word]
    return " ".join(parser.format_help().split())
