"""Private names of each other package are touched in one module, so that a test notices when an upgrade moves them."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("tasks", "dlq", "scheduler_site")
INTERNALS = ROOT / "tasks/broker/dramatiq_internals.py"
PIKA_INTERNALS = ROOT / "tasks/broker/pika_internals.py"
#: All of them. Tests of the last three modules fail if their names are gone, because the modules cannot work without.
TOUCHED = {
    INTERNALS: {"_exception", "_max_unpack_size"},
    PIKA_INTERNALS: {"_on_getok_callback", "_send_method"},
    # psycopg2: the library in which libpq is, to cancel a statement without the interpreter's lock.
    ROOT / "tasks/db/call_timeout.py": {"_psycopg"},
    # gunicorn: the main loop has asked for the body already.
    ROOT / "scheduler_site/gunicorn_worker.py": {"_expected_100_continue"},
    # Django: a transaction of a test, inside which a durable one may begin.
    ROOT / "tasks/testing/worker.py": {"_from_testcase"},
}

#: Names that are documented although they begin with an underscore, or without which a type cannot be named.
DOCUMENTED = {
    "_asdict", "_replace", "_fields",  # named tuples
    "_exit",  # os
    "_current_frames",  # sys
    "_meta", "_default_manager",  # Django's models
    "_ArgumentGroup", "_SubParsersAction",  # argparse, which gives these types no other name
    "_request",  # the request inside one of Django REST framework
}  # fmt: skip


def modules() -> dict[Path, ast.Module]:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    # What protoc writes uses names that its library keeps for that.
    return {path: ast.parse(path.read_text()) for path in paths if path.parent.name != "generated"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def own_names(trees: dict[Path, ast.Module]) -> set[str]:
    """Find the private names that the product defines itself."""
    names: set[str] = set()
    for node in (node for tree in trees.values() for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            names.add(node.attr)
    return names


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def touched(tree: ast.Module) -> Iterator[str]:
    """List private names that a module takes from other objects, or from other modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and not _is_self(node.value):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(PACKAGES):
            yield from (alias.name for alias in node.names if is_private(alias.name))


def test_private_names_of_each_other_package_are_touched_in_one_module() -> None:
    trees = modules()
    known = own_names(trees) | DOCUMENTED
    found = {path: set(touched(tree)) - known for path, tree in trees.items()}
    assert {path: names for path, names in found.items() if names} == TOUCHED


def test_each_of_them_has_a_contract_test() -> None:
    functions = [node.name for node in modules()[INTERNALS].body if isinstance(node, ast.FunctionDef)]
    contract = (Path(__file__).parent / "test_dramatiq_contract.py").read_text()
    assert functions
    assert [name for name in functions if f"dramatiq_internals.{name}(" not in contract] == []
