"""The product's modules import each other in one direction only: there is no circle, not even a long one.

Layers are import-linter's (``pyproject.toml``); this covers what they leave open, inside a room and between siblings.
"""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

PACKAGES = ("tasks", "dlq", "scheduler_site")


def imports_of(*packages: str) -> Mapping[str, set[str]]:
    """Map each module to those it imports: at its top, inside functions, and for type checking alone."""
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=False, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circle(imports: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of an import circle, each imported by the next; an empty list if there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_module_imports_itself_through_others() -> None:
    assert circle(imports_of(*PACKAGES)) == []


MODULES = {
    "": "",
    "at_its_top": "from sample import lone",
    "in_a_function": "def late():\n    from sample import lone",
    "for_types_only": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sample import lone",
}


@pytest.fixture(params=list(MODULES))
def sample(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a package in which ``lone`` imports a module that may import it too."""
    package = tmp_path / "sample"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "lone.py").write_text("from sample import other")
    (package / "other.py").write_text(MODULES[request.param])
    monkeypatch.syspath_prepend(str(tmp_path))
    kind: str = request.param
    return kind


def test_imports_count_wherever_they_are(sample: str) -> None:
    assert set(circle(imports_of("sample"))) == ({"sample.lone", "sample.other"} if sample else set())
