"""The contract is of no framework's: every door, gRPC and the command line too, stands on it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import contract

FRAMEWORKS = ("rest_framework", "grpc", "django.http", "django.urls", "django.shortcuts", "django.contrib.admin")
FILES = sorted(Path(contract.__path__[0]).glob("*.py"))


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_of_the_contract_imports_no_framework(file: Path) -> None:
    assert [name for name in _imported(file) if f"{name}.".startswith(tuple(f"{one}." for one in FRAMEWORKS))] == []


def test_an_import_of_a_framework_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("from django import http\n")
    with pytest.raises(AssertionError):
        test_a_file_of_the_contract_imports_no_framework(file)
