"""``callboard healthcheck``: whether the processes of this machine are well."""

from argparse import Namespace

from django.core.management.base import CommandError

from tasks import healthcheck
from tasks.conf import conf
from tasks.management.callboard import parsing
from tasks.management.callboard.output import Output


def register(commands: parsing.Commands) -> None:
    """Add the command."""
    parser = parsing.add_command(
        commands, "healthcheck", check,
        help="check the processes of this machine: 0 if all are well, else 1 and a sentence",
        examples=["healthcheck", "healthcheck workers", "healthcheck scheduler --ready --json"],
    )  # fmt: skip
    healthcheck.add_arguments(parser)


def check(options: Namespace, out: Output) -> None:
    """Ask each process, and print what it says."""
    answers = healthcheck.run(options, conf.HEALTH_DIR)
    if out.is_json:
        out.json([answer.facts for answer in answers])
    else:
        out.lines([answer.sentence for answer in answers if answer.is_well])
    ill = [answer.sentence for answer in answers if not answer.is_well]
    if ill:
        raise CommandError("\n".join(ill))
