"""``callboard dlq``: list, show, failures, failure, snooze, redrive, discard, restore."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.db.models import QuerySet

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.contract import dead_letter_failures, fields
from tasks.contract.dead_letter_export import Format, find, written
from tasks.contract.dead_letter_failures import (
    DEFAULT_LIMIT,
    MOST_LISTED,
    anatomy,
    anatomy_as_dict,
    failure_as_dict,
    last_seen,
    lenses_of,
)
from tasks.contract.dead_letters import FILTERS, dead_letter_as_dict, lenses, task_of
from tasks.contract.filters import filtered
from tasks.contract.sight import Lens, Sees, Sight, keep_secrets
from tasks.errors import NotFound
from tasks.lifecycle import Author
from tasks.management.callboard import dlq_groups, lists, operator, parsing, payload, verbs
from tasks.management.callboard.exit_codes import USAGE
from tasks.management.callboard.output import WIDE, WIDEST, Column, Output
from tasks.models import Attempt
from tasks.states import ObjectKind, OperationVerb, Resolution

_LIST = (
    Column("ID", "id"),
    Column("ACTOR", "actor", wraps=True),
    Column("ERROR", "error.type", wraps=True),
    Column("DIED", "died_at"),
    Column("REASON", "reason", from_width=WIDE),
    Column("RESOLUTION", "resolution", from_width=WIDE),
    Column("MESSAGE", "error.message", wraps=True, from_width=WIDE),
    Column("TASK", "task_id", from_width=WIDEST),
)

_FAILURES = (
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
_FAILURE_FILTERS = {
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


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(
        commands, "dlq", help="look at dead letters and their causes, re-drive or discard them",
        examples=[
            "dlq list --actor send_mail", "dlq show ID", "dlq redrive ID ID", "dlq redrive ID --payload amount=3",
            "dlq discard ID", "dlq failures",
            "dlq redrive --failure FINGERPRINT --canary 5 --rate 20 --reason 'the fix is out'",
        ],
    )  # fmt: skip
    listing = parsing.add_command(
        nouns, "list", list_letters, help="list open dead letters, newest first",
        examples=[
            "dlq list --actor send_mail --reason max_retries_exceeded",
            "dlq list --resolution redriven",
            "dlq list --actor send_mail --csv",
            f"dlq list --actor send_mail --limit {lists.MOST_LISTED} -q | xargs manage.py callboard dlq redrive",
        ],
    )  # fmt: skip
    lists.add_options(listing, FILTERS)
    lists.add_secrets_option(listing)
    listing.add_argument("--all", action="store_true", dest="is_all", help="include resolved ones")
    listing.add_argument("--csv", action="store_true", dest="is_csv", help="print CSV, with the payloads")
    add_verb = partial(parsing.add_verb, nouns, noun="dlq", of="dead letters")
    lists.add_secrets_option(
        parsing.add_show(nouns, show, noun="dlq", help="show a dead letter and its traceback", of="dead letter")
    )
    failures = parsing.add_command(
        nouns, "failures", list_failures, help="list the causes of deaths, the one that was last seen first",
        examples=["dlq failures --snoozed false", "dlq failures --all --actor send_mail"],
    )  # fmt: skip
    for name, text in _FAILURE_FILTERS.items():
        failures.add_argument(f"--{name.replace('_', '-')}", metavar="…", help=text)
    failures.add_argument("--all", action="store_true", dest="is_all", help="include those without open dead letters")
    failures.add_argument(
        "--limit", type=int, default=DEFAULT_LIMIT, metavar="N", help=f"at most N, 1 to {MOST_LISTED}"
    )
    lists.add_secrets_option(failures)
    snoozing = parsing.add_command(
        nouns, "snooze", snooze, help="hide a failure from what is to be done, until a time or a new build",
        examples=["dlq snooze FINGERPRINT --until-new-build", "dlq snooze FINGERPRINT --until 2030-01-31T09:00:00Z"],
    )  # fmt: skip
    snoozing.add_argument("fingerprint", metavar="FINGERPRINT", help="of the failure")
    end = snoozing.add_mutually_exclusive_group(required=True)
    end.add_argument(
        "--until-new-build", action="store_true", help="until a task dies of it in a build that does not run now"
    )
    end.add_argument("--until", metavar="TIME", help="a date and time with its zone (ISO 8601)")
    end.add_argument("--wake", action="store_true", help="end the snooze")
    parsing.add_reason(snoozing)
    showing = parsing.add_command(
        nouns, "failure", show_failure, help="show a failure and what its newest dead letters have in common",
        examples=["dlq failure FINGERPRINT"],
    )  # fmt: skip
    showing.add_argument("fingerprint", metavar="FINGERPRINT", help="as `dlq failures` prints it")
    lists.add_secrets_option(showing)
    # Ids, or a group.
    for verb, run, text in (
        (OperationVerb.REDRIVE, redrive, "run the tasks of dead letters again, with a fresh set of retries"),
        (OperationVerb.DISCARD, discard, "resolve dead letters without running their tasks again"),
        (OperationVerb.RESTORE, restore, "open discarded dead letters again, while their tasks are kept"),
    ):
        parser = add_verb(str(verb), run, number="*", help=text)
        dlq_groups.add_options(parser, verb)
        if verb is OperationVerb.REDRIVE:
            payload.add_argument(parser, help="of one dead letter: the payload that its task gets first")


def list_letters(options: Namespace, out: Output) -> None:
    """List dead letters."""
    rows = DeadLetter.objects.all()
    if not (options.is_all or lists.has_filter(options, "resolution")):
        rows = rows.open()
    if options.is_csv:
        _print_csv(rows, options, out)
        return
    lists.show(rows, options, out, filters=FILTERS, write=partial(_as_dicts, sees=lists.sees(options)), columns=_LIST)


def _print_csv(rows: QuerySet[DeadLetter], options: Namespace, out: Output) -> None:
    if out.is_json or options.quiet:
        raise CommandError("expected --csv, --json or -q, got two of them", returncode=USAGE)
    matching, limit = lists.matching(rows, options, filters=FILTERS)
    sees = lists.sees(options)
    for piece in written(find(matching, most=limit), Format.CSV, sees=sees, sees_payloads=sees):
        out.raw(piece.decode())


def show(options: Namespace, out: Output) -> None:
    """Show one dead letter."""
    letter = lists.find(DeadLetter.objects.all(), options.id)
    attempt = Attempt.objects.filter(task_id=letter.task_id, number=letter.attempt).first()
    sees = lists.sees(options)
    lens = lenses([letter], sees=sees)[letter.pk]
    traceback, note = (lens.text(attempt.traceback), lens.text(attempt.note)) if attempt else ("", "")
    (record,) = _as_dicts([letter], sees=sees)
    out.record({**record, "note": note, "traceback": traceback}, hidden=("url", "task_url", "traceback"))
    if traceback and not out.is_json:
        out.text(traceback, title="traceback")


def redrive(options: Namespace, out: Output) -> None:
    """Re-drive dead letters, or all of a group."""
    act = partial(_redrive, given=_payload(options)) if options.payload else _redrive
    _apply(act, options, out, verb=OperationVerb.REDRIVE)


def list_failures(options: Namespace, out: Output) -> None:
    """List the causes of deaths."""
    limit = parsing.read("--limit", fields.whole_number(1, MOST_LISTED), options.limit)
    asked = {name: [getattr(options, name)] for name in _FAILURE_FILTERS if getattr(options, name) is not None}
    rows = Failure.objects.with_news() if options.is_all else Failure.objects.with_news().open()
    found = last_seen(filtered(rows, asked, dead_letter_failures.FILTERS), limit=limit)
    seen, url = lenses_of(found.rows, sees=lists.sees(options)), lists.address("api-failures")
    records = [failure_as_dict(one, url=url, lens=seen[one.pk]) for one in found.rows]
    out.rows(records, _FAILURES, has_more=found.is_capped)


def show_failure(options: Namespace, out: Output) -> None:
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


def discard(options: Namespace, out: Output) -> None:
    """Discard dead letters, or all of a group."""
    _apply(_discard, options, out, verb=OperationVerb.DISCARD)


def restore(options: Namespace, out: Output) -> None:
    """Restore dead letters, or all of a group."""
    _apply(_restore, options, out, verb=OperationVerb.RESTORE)


def _apply(act: Callable[[UUID, Author], str], options: Namespace, out: Output, *, verb: OperationVerb) -> None:
    if dlq_groups.is_asked(options):
        dlq_groups.begin(options, out, verb=verb)
    else:
        verbs.apply(options, act, out, name=str(verb), kind=ObjectKind.DEAD_LETTER)


def _payload(options: Namespace) -> dict[str, Any]:
    if len(options.ids) != 1:
        raise CommandError("--payload: expected the id of one dead letter", returncode=USAGE)
    return payload.read(options.payload)


def _redrive(letter_id: UUID, by: Author, *, given: dict[str, Any] | None = None) -> str:
    if given is not None:
        # A payload that was copied from the screen has masks in it.
        task = task_of(lists.find(DeadLetter.objects.all(), letter_id))
        given = keep_secrets({"payload": given}, task=task, lens=Lens(Sight.MASKED, task)).get("payload")
    return lifecycle.redrive(letter_id, by=by, payload=given)


def _discard(letter_id: UUID, by: Author) -> str:
    lifecycle.discard(letter_id, by=by)
    return Resolution.DISCARDED


def _restore(letter_id: UUID, by: Author) -> str:
    lifecycle.restore(letter_id, by=by)
    return Resolution.OPEN.name


def _as_dicts(letters: Sequence[DeadLetter], *, sees: Sees) -> list[dict[str, Any]]:
    """Write dead letters as the REST API does."""
    urls = {"url": lists.address("api-dlq"), "task_url": lists.address("api-tasks")}
    seen = lenses(letters, sees=sees)
    return [dead_letter_as_dict(letter, lens=seen[letter.pk], **urls) for letter in letters]
