"""Help, examples, and errors on one line."""

import argparse
import re
import shlex
from typing import Any

import pytest

from tasks.lifecycle import queues
from tasks.management.commands.callboard import Command
from tasks.models import new_id
from tests.commands.cli import callboard, refused
from tests.commands.leaves import leaves

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("words", leaves(), ids=" ".join)
def test_help_has_examples(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        callboard(*words, "--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n  manage.py callboard " + " ".join(words) in text
    assert "--json" in text


def test_a_database_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("connection refused\n\tIs the server running?\n")

    monkeypatch.setattr(queues, "pause", fail)
    assert refused("queues", "pause", "default")[0] == "the database does not answer as it should: connection refused"


def _parsers(parser: Any) -> Any:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _parsers(child)


def _examples() -> list[str]:
    """Collect the examples of each command's help."""
    lines = []
    for parser in _parsers(Command().create_parser("manage.py", "callboard")):
        lines += re.findall(r"^  manage\.py callboard (.*)$", parser.epilog or "", re.M)
    return [re.sub(r"\s{2,}\(.*\)$|\s\|.*$", "", line) for line in lines]


@pytest.mark.parametrize("line", _examples())
def test_every_example_can_be_typed(line: str) -> None:
    words = [str(new_id()) if word == "ID" else word for word in shlex.split(line)]
    assert Command().create_parser("manage.py", "callboard").parse_args(words).run
