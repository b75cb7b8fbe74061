"""The queues and bands that a worker serves, as its command line gives them."""

from argparse import ArgumentParser, _ArgumentGroup
from collections.abc import Sequence

import dramatiq
from django.core.management.base import CommandError

from tasks.priority import BANDS, bands_named, broker_queue, is_broker_queue, shortest_names


def add_arguments(parser: ArgumentParser | _ArgumentGroup) -> None:
    """Define ``--queues`` and ``--bands``."""
    parser.add_argument(
        "-Q", "--queues", nargs="*", default=[], metavar="QUEUE",
        help="queues to serve, or single bands such as default.high (default: all declared queues)",
    )  # fmt: skip
    parser.add_argument(
        "--bands", nargs="*", default=[], choices=[band.name for band in BANDS],
        help="serve only these bands of the queues (high: priority 8-10, medium: 4-7, low: 1-3)",
    )  # fmt: skip


def served(queues: Sequence[str], bands: Sequence[str]) -> list[str]:
    """List the queues and bands that a worker takes tasks from; an empty list means all.

    Parameters:
        queues: queues, or single bands of them; empty means all.
        bands: the bands to narrow the queues to; empty means all.

    Raises:
        CommandError: no actor declares one of the queues, or the bands leave nothing of them.
    """
    declared = set(filter(is_broker_queue, dramatiq.get_broker().get_declared_queues()))
    known = shortest_names(declared)
    # Checked here: if a worker checked it, the supervisor would restart it again and again.
    unknown = [name for name in queues if not declared.issuperset(bands_named(name))]
    if unknown or not known:
        missing = ", ".join(unknown) or "any queue"
        raise CommandError(f"no actor declares {missing}; declared are: {', '.join(known) or 'none'}")
    return _narrowed(queues or known, bands) if bands else list(queues)


def _narrowed(queues: Sequence[str], bands: Sequence[str]) -> list[str]:
    single = [name for name in queues if is_broker_queue(name) and name.rpartition(".")[2] in bands]
    whole = [broker_queue(name, band) for name in queues if not is_broker_queue(name) for band in bands]
    if not single and not whole:
        raise CommandError(f"expected queues with the bands {', '.join(bands)}, got {', '.join(queues)}")
    return list(dict.fromkeys([*single, *whole]))
