"""``callboard demo``: start one of the flows in ``examples/``, or fill an empty stack with a made-up history."""

import pkgutil
from argparse import Namespace
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from tasks.errors import NotFound
from tasks.management.callboard import parsing
from tasks.management.callboard.output import Column, Output

_LIST = (Column("NAME", "name"), Column("ABOUT", "about", wraps=True))
_FILLED = (Column("TABLE", "name"), Column("ROWS", "rows"))
_STARTED = (Column("TASK", "name"), Column("ID", "id"), Column("STATUS", "status"))


def register(commands: parsing.Commands) -> None:
    """Add the command."""
    parser = parsing.add_command(
        commands, "demo", demo, help="list the flows in examples/, or start one and say how to watch it",
        examples=["demo", "demo etl", "demo approval --json", "demo --history"],
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group()
    what.add_argument("name", nargs="?", metavar="NAME", help="which one; without it they are listed")
    what.add_argument("--history", action="store_true", help="fill an empty stack with the made-up day of a shop")


def demo(options: Namespace, out: Output) -> None:
    """List the flows, or start one."""
    if options.history:
        _fill(out)
        return
    flows = dict(_flows())
    if options.name is None:
        out.rows([{"name": name, "about": (flow.__doc__ or "").strip()} for name, flow in flows.items()], _LIST)
        return
    if options.name not in flows:
        known = ", ".join(flows) or "none: the folder examples/ comes with a clone of Callboard"
        raise NotFound(f"there is no flow {options.name}; expected one of {known}")
    # Declares its actors in this process; workers know them by ACTOR_APPS.
    flow = import_module(f"{flows[options.name].__name__}.demo")
    started = flow.start()
    rows = [{"name": name, "id": str(task.pk), "status": str(task.status)} for name, task in started.items()]
    out.rows(rows, _STARTED)
    out.remark(flow.WATCH.format(**{name: task.pk for name, task in started.items()}))


def _fill(out: Output) -> None:
    try:
        history = import_module("examples.shop.history")
    except ModuleNotFoundError as error:
        raise NotFound("there is no history: the folder examples/ comes with a clone of Callboard") from error
    counts = history.fill()
    out.rows([{"name": name, "rows": count} for name, count in counts.items()], _FILLED)
    out.remark(history.ABOUT)


def _flows() -> Iterator[tuple[str, ModuleType]]:
    try:
        examples = import_module("examples")
    except ModuleNotFoundError:
        return
    for found in pkgutil.iter_modules(examples.__path__):
        # Other examples are programs of their own.
        if found.ispkg and find_spec(f"examples.{found.name}.demo"):
            yield found.name, import_module(f"examples.{found.name}")
