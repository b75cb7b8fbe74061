"""Acts on all dead letters of a group, a failure or what filters choose: each becomes an operation."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tasks.contract import fields
from tasks.contract.operations import DEFAULT_STOP_PERCENT, find_rows, read_course
from tasks.errors import NotFound
from tasks.lifecycle import operations
from tasks.management.callboard import operations as operation_lists
from tasks.management.callboard import operator, parsing
from tasks.management.callboard.exit_codes import USAGE
from tasks.management.callboard.output import Output
from tasks.states import RUNNING_AGAIN, OperationVerb

#: The filters of a group, as those of ``GET dlq``.
_GROUP: Mapping[str, fields.Reader] = {
    "failure": fields.fingerprint,
    "actor": fields.text(255),
    "queue": fields.text(100),
}


def add_options(parser: CommandParser, verb: OperationVerb) -> None:
    """Define the filters of a group, and how its operation goes."""
    parser.add_argument("--failure", metavar="FINGERPRINT", help="instead of ids: all of a failure, in an operation")
    parser.add_argument("--actor", metavar="…", help="all of this actor")
    parser.add_argument("--queue", metavar="…", help="all of this queue")
    parser.add_argument("--rate", type=float, metavar="N", help="so many per second")
    parser.add_argument("--preview", action="store_true", help="only count them; `operations resume` starts it")
    if verb in RUNNING_AGAIN:
        parser.add_argument("--canary", type=int, metavar="N", help="this many first, until they have ended")
        parser.add_argument(
            "--stop-percent", type=int, metavar="N",
            help=f"stop when so many die again (default: {DEFAULT_STOP_PERCENT})",
        )  # fmt: skip


def is_asked(options: Namespace) -> bool:
    """Tell whether the options choose a group.

    Raises:
        CommandError: they choose neither a group nor single dead letters, or both.
    """
    is_group = any(getattr(options, name) is not None for name in _GROUP)
    if is_group and options.ids:
        raise CommandError("expected ids of dead letters or filters, got both", returncode=USAGE)
    if not is_group and not options.ids:
        raise CommandError("expected ids of dead letters, or --failure, --actor or --queue", returncode=USAGE)
    return is_group


def begin(options: Namespace, out: Output, *, verb: OperationVerb) -> None:
    """Begin the operation on a group."""
    given = {name: getattr(options, name) for name in _GROUP}
    group = {name: parsing.read(f"--{name}", _GROUP[name], text) for name, text in given.items() if text is not None}
    plan = read_course(_course(options), verb=verb, criteria=group, failure=group.get("failure", ""))
    ids = find_rows(verb, {name: [value] for name, value in group.items()}, caller=None)
    if not ids:
        kind = "restorable" if verb is OperationVerb.RESTORE else "open"
        criteria = ", ".join(f"the {name} {value}" for name, value in group.items())
        raise NotFound(f"no {kind} dead letters have {criteria}")
    operation = operations.begin(plan, ids, by=operator.author(options), starts=not options.preview)
    out.record(operation_lists.as_dicts([operation])[0], hidden=("url",))


def _course(options: Namespace) -> dict[str, Any]:
    pace = {"rate_per_second": options.rate}
    return {**pace, "canary": options.canary, "stop_percent": options.stop_percent} if "canary" in options else pace
