"""``callboard dlq``: list, show, redrive, discard, restore; ``dlq_failures`` has its commands of failures."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.db.models import QuerySet

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.contract.dead_letter_export import Format, find, written
from tasks.contract.dead_letters import FILTERS, dead_letter_as_dict, lenses, task_of
from tasks.contract.sight import Lens, Sees, Sight, keep_secrets
from tasks.lifecycle import Author
from tasks.management.callboard import dlq_failures, dlq_groups, lists, parsing, payload, verbs
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


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(
        commands, "dlq", help="look at dead letters and their causes, re-drive, discard or restore them",
        examples=[
            "dlq list --actor send_mail", "dlq show ID", "dlq redrive ID ID", "dlq redrive ID --payload amount=3",
            "dlq discard ID", "dlq failures",
            "dlq redrive --failure FINGERPRINT --canary 5 --rate 20 --reason 'the fix is out'",
        ],
    )  # fmt: skip
    _add_list(nouns)
    showing = parsing.add_show(nouns, show, noun="dlq", help="show a dead letter and its traceback", of="dead letter")
    lists.add_secrets_option(showing)
    dlq_failures.add_commands(nouns)
    _add_verbs(nouns)


def _add_list(nouns: parsing.Commands) -> None:
    parser = parsing.add_command(
        nouns, "list", list_letters, help="list open dead letters, newest first",
        examples=[
            "dlq list --actor send_mail --reason max_retries_exceeded",
            "dlq list --resolution redriven",
            "dlq list --actor send_mail --csv",
            f"dlq list --actor send_mail --limit {lists.MOST_LISTED} -q | xargs manage.py callboard dlq redrive",
        ],
    )  # fmt: skip
    lists.add_options(parser, FILTERS)
    lists.add_secrets_option(parser)
    parser.add_argument("--all", action="store_true", dest="is_all", help="include resolved ones")
    parser.add_argument("--csv", action="store_true", dest="is_csv", help="print CSV, with the payloads")


def _add_verbs(nouns: parsing.Commands) -> None:
    """Add the verbs, which take ids or the filters of a group."""
    for verb, run, text in (
        (OperationVerb.REDRIVE, redrive, "run the tasks of dead letters again, with a fresh set of retries"),
        (OperationVerb.DISCARD, discard, "resolve dead letters without running their tasks again"),
        (OperationVerb.RESTORE, restore, "open discarded dead letters again, while their tasks are kept"),
    ):
        parser = parsing.add_verb(nouns, str(verb), run, noun="dlq", of="dead letters", number="*", help=text)
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
