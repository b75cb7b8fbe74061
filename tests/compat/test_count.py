"""``docs/coming-from.md`` says how many behaviours of Dramatiq's own tests are the same here, and names the others."""

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.compat import suite

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming-from.md"


def behaviours() -> Iterator[tuple[str, str, str]]:
    """Yield each behaviour in words, why it is another here (empty if it is not), and its file.

    A case with several arguments is one.
    """
    for module in pkgutil.iter_modules(suite.__path__, f"{suite.__name__}."):
        for name, function in inspect.getmembers(import_module(module.name), inspect.isfunction):
            if name.startswith("test_"):
                marks: list[Any] = getattr(function, "pytestmark", [])
                why = [mark.args[0] for mark in marks if mark.name == "differs"]
                yield name.removeprefix("test_").replace("_", " "), "".join(why), f"{module.name.split('.')[-1]}.py"


def test_the_page_has_the_numbers() -> None:
    found = list(behaviours())
    same = [name for name, why, _ in found if not why]
    sentence = f"Of {len(found)} behaviours that Dramatiq's own tests ask for, {len(same)} are the same here"
    assert sentence in " ".join(PAGE.read_text().split())


def test_the_page_has_a_row_for_each_difference() -> None:
    text = PAGE.read_text().partition("### Dramatiq's own tests\n")[2].partition("\n## ")[0]
    rows = {tuple(line.strip("| ").split(" | ")) for line in text.splitlines() if line.startswith("| ")}
    assert rows - {("stock", "here", "its case")} == {one for one in behaviours() if one[1]}


def test_enough_of_them_are_the_same() -> None:
    found = list(behaviours())
    assert len(found) >= 202
    assert sum(not why for _, why, _ in found) >= 190
