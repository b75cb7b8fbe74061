"""The commands of failures, the causes of deaths: ``callboard dlq failures``, ``failure`` and ``snooze``."""

from argparse import Namespace

from dlq.models import Failure
from tasks import lifecycle
from tasks.contract import fields
from tasks.contract.failures import (
    DEFAULT_LIMIT,
    FILTERS,
    MOST_LISTED,
    anatomy,
    anatomy_as_dict,
    failure_as_dict,
    last_seen,
    lenses_of,
)
from tasks.contract.filters import filtered
from tasks.contract.sight import Sight
from tasks.errors import NotFound
from tasks.management.callboard import lists, operator, parsing
from tasks.management.callboard.output import WIDE, WIDEST, Column, Output

_LIST = (
    Column("FINGERPRINT", "fingerprint"),
    Column("ACTOR", "actor", wraps=True),
    Column("ERROR", "error.type", wraps=True),
    Column("OPEN", "open", is_number=True),
    Column("DEATHS", "total", is_number=True),
    Column("LAST SEEN", "last_seen_at"),
    Column("FIRST SEEN", "first_seen_at", from_width=WIDE),
    Column("LAST BUILD", "last_build", from_width=WIDE),
    Column("FIRST BUILD", "first_build", from_width=WIDEST),
    Column("MESSAGE", "error.message", wraps=True, from_width=WIDE),
    Column("RAISED AT", "frame", wraps=True, from_width=WIDEST),
    Column("ASSIGNED TO", "assignee", from_width=WIDEST),
)
#: The filters of ``GET failures`` that are options here, with their help.
_OPTIONS = {
    "actor": "the exact name",
    "error_type": "the exact name of the exception",
    "assignee": "the exact name of who looks after it",
    "snoozed": "true or false: whether it is snoozed now",
}
_TRAITS = (
    Column("KIND", "kind"),
    Column("NAME", "name"),
    Column("VALUE", "value", wraps=True),
    Column("COUNT", "count", is_number=True),
)


def add_commands(nouns: parsing.Commands) -> None:
    """Add the commands to those of dead letters."""
    _add_list(nouns)
    _add_snooze(nouns)
    showing = parsing.add_command(
        nouns, "failure", show, help="show a failure and what its newest dead letters have in common",
        examples=["dlq failure FINGERPRINT"],
    )  # fmt: skip
    showing.add_argument("fingerprint", metavar="FINGERPRINT", help="as `dlq failures` prints it")
    lists.add_secrets_option(showing)


def _add_list(nouns: parsing.Commands) -> None:
    parser = parsing.add_command(
        nouns, "failures", list_failures, help="list the causes of deaths, the one that was last seen first",
        examples=["dlq failures --snoozed false", "dlq failures --all --actor send_mail"],
    )  # fmt: skip
    for name, text in _OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="…", help=text)
    parser.add_argument("--all", action="store_true", dest="is_all", help="include those without open dead letters")
    parser.add_argument("--limit", type=int, default=DEFAULT_LIMIT, metavar="N", help=f"at most N, 1 to {MOST_LISTED}")
    lists.add_secrets_option(parser)


def _add_snooze(nouns: parsing.Commands) -> None:
    parser = parsing.add_command(
        nouns, "snooze", snooze, help="hide a failure from what is to be done, until a time or a new build",
        examples=["dlq snooze FINGERPRINT --until-new-build", "dlq snooze FINGERPRINT --until 2030-01-31T09:00:00Z"],
    )  # fmt: skip
    parser.add_argument("fingerprint", metavar="FINGERPRINT", help="of the failure")
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument(
        "--until-new-build", action="store_true", help="until a task dies of it in a build that does not run now"
    )
    end.add_argument("--until", metavar="TIME", help="a date and time with its zone (ISO 8601)")
    end.add_argument("--wake", action="store_true", help="end the snooze")
    parsing.add_reason(parser)


def list_failures(options: Namespace, out: Output) -> None:
    """List the causes of deaths."""
    limit = parsing.read("--limit", fields.whole_number(1, MOST_LISTED), options.limit)
    asked = {name: [getattr(options, name)] for name in _OPTIONS if getattr(options, name) is not None}
    rows = Failure.objects.with_news() if options.is_all else Failure.objects.with_news().open()
    found = last_seen(filtered(rows, asked, FILTERS), limit=limit)
    seen, url = lenses_of(found.rows, sees=lists.sees(options)), lists.address("api-failures")
    records = [failure_as_dict(one, url=url, lens=seen[one.pk]) for one in found.rows]
    out.rows(records, _LIST, has_more=found.is_capped)


def show(options: Namespace, out: Output) -> None:
    """Show one failure, and what its newest open dead letters have in common."""
    fingerprint = parsing.read("FINGERPRINT", fields.fingerprint, options.fingerprint)
    failure = Failure.objects.with_news().filter(pk=fingerprint).first()
    if failure is None:
        raise NotFound(f"there is no failure {fingerprint}")
    sees = lists.sees(options)
    lens = lenses_of([failure], sees=sees)[failure.pk]
    record = failure_as_dict(failure, url=lists.address("api-failures"), lens=lens)
    found = anatomy_as_dict(anatomy(failure, sees=sees))
    out.record({**record, **found}, hidden=("url", "deaths_per_minute"), parts={"in_common": _TRAITS})


def snooze(options: Namespace, out: Output) -> None:
    """Snooze a failure, or wake it."""
    fingerprint = parsing.read("FINGERPRINT", fields.fingerprint, options.fingerprint)
    until = parsing.read("--until", fields.moment, options.until) if options.until is not None else None
    change = {"snoozed_until": until, "snoozed_until_new_build": options.until_new_build}
    found = lifecycle.look_after(fingerprint, change, by=operator.author(options))
    lens = lenses_of([found], sees=lambda _: Sight.MASKED)[found.pk]
    out.record(failure_as_dict(found, url=lists.address("api-failures"), lens=lens), hidden=("url",))
