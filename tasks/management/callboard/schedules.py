"""``callboard schedules``: list, show, add, pause, resume, run, preview, backfill, remove."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from tasks.contract import fields
from tasks.contract.schedules import (
    DEFAULT_PREVIEWED,
    FILTERS,
    MOST_PREVIEWED,
    MOST_RESULTS,
    last_tasks,
    preview_as_list,
    read_schedule,
    results_of,
    schedule_as_dict,
)
from tasks.contract.sight import Lens, Sight
from tasks.errors import InvalidTask, NotFound, describe
from tasks.lifecycle import schedules
from tasks.lifecycle.schedules import MOST_BACKFILLED
from tasks.management.callboard import lists, operator, parsing, payload, tasks
from tasks.management.callboard.exit_codes import USAGE
from tasks.management.callboard.output import WIDE, Column, Output
from tasks.management.callboard.submit import add_option
from tasks.models import Schedule
from tasks.schedule_definition import OPTIONS
from tasks.states import CatchUp, Overlap
from tasks.submission import FIELDS

COLUMNS = (
    Column("NAME", "name", wraps=True),
    Column("ACTOR", "actor", wraps=True),
    Column("WHEN", "description", wraps=True),
    Column("NEXT FIRE", "next_fire_at"),
    Column("PAUSED", "paused_at"),
    Column("LAST FIRE", "last_fire_at", from_width=WIDE),
    Column("ID", "id", from_width=WIDE),
)
_RESULTS = (Column("TASK", "id"), Column("STATUS", "status"), Column("FIRE", "scheduled_at"))
_FIRES = (Column("UTC", "at"), Column("LOCAL", "local"))
_HIDDEN = ("url", "hidden", "last_results")
#: Options that give a field as text or a number: name, type, help.
_TIMING: Sequence[tuple[str, str, type, str]] = (
    ("--cron", "cron", str, "five fields: minute, hour, day of month, month, day of week; six begin with seconds"),
    ("--every", "every_seconds", float, "seconds, in place of --cron"),
    ("--timezone", "timezone", str, "such as Europe/Berlin, in which --cron is read; default: UTC"),
    ("--starts-at", "starts_at", str, "no fire is before this time"),
    ("--ends-at", "ends_at", str, "no fire is after this time"),
    ("--jitter", "jitter_seconds", float, "seconds; tasks start up to this long after the fire"),
    ("--catch-up-window", "catch_up_window_seconds", float, "seconds; missed fires that are older are left out"),
    ("--pause-after-failures", "pause_after_failures", int, "pause when so many of its tasks died in a row"),
)


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(
        commands, "schedules", help="list, show, add, pause, run, fill and remove schedules",
        examples=[
            "schedules list",
            "schedules add nightly report --cron '0 6 * * 1-5' --timezone Europe/Berlin",
            "schedules pause nightly --reason 'the source is down'",
        ],
    )  # fmt: skip
    listing = parsing.add_command(
        nouns, "list", list_schedules, help="list schedules, newest first",
        examples=["schedules list", "schedules list --actor report --json"],
    )  # fmt: skip
    lists.add_options(listing, FILTERS)
    lists.add_secrets_option(listing)
    one = _add_named(nouns, "show", show, help="show a schedule and its last tasks", example="schedules show nightly")
    lists.add_secrets_option(one)
    _register_add(nouns)
    for name, run, text in (
        ("pause", pause, "stop firing; tasks that are there go on"),
        ("resume", resume, "fire again from now on; what the pause left out is not caught up"),
        ("remove", remove, "remove schedules; their tasks stay"),
    ):
        one = parsing.add_command(
            nouns, name, run, help=text, examples=[f"schedules {name} nightly", f"schedules {name} a b"]
        )
        one.add_argument("names", nargs="+", metavar="NAME", help="a name or an id")
        parsing.add_reason(one)
    one = _add_named(nouns, "run", run_now, help="submit one task now, paused or not", example="schedules run nightly")
    parsing.add_reason(one)
    one = _add_named(nouns, "preview", preview, help="list the next fires", example="schedules preview nightly")
    one.add_argument("--after", metavar="TIME", help="list fires after this time; default: now")
    one.add_argument(
        "--limit", type=int, default=DEFAULT_PREVIEWED, metavar="N",
        help=f"1 to {MOST_PREVIEWED} (default: %(default)s)",
    )  # fmt: skip
    one = _add_named(
        nouns, "backfill", backfill,
        help=f"make the tasks of past fires that have none, a few at a time; at most {MOST_BACKFILLED:,}",
        example="schedules backfill nightly --start 2026-01-05T00:00:00Z --end 2026-01-11T23:59:59Z",
    )  # fmt: skip
    one.add_argument("--start", required=True, metavar="TIME", help="the first moment of the range")
    one.add_argument("--end", required=True, metavar="TIME", help="the last one, in the past")
    parsing.add_reason(one)


def _register_add(nouns: parsing.Commands) -> None:
    one = parsing.add_command(
        nouns, "add", add, help="add a schedule",
        examples=[
            "schedules add nightly report --cron '0 6 * * 1-5' --timezone Europe/Berlin",
            "schedules add poll echo --payload message={scheduled_at} --every 90 --overlap allow --catch-up all",
        ],
    )  # fmt: skip
    one.add_argument("name", metavar="NAME")
    one.add_argument("actor", metavar="ACTOR")
    payload.add_argument(one)
    for option, name, kind, text in _TIMING:
        one.add_argument(option, dest=name, type=kind, help=text, metavar=option[2:].upper().replace("-", "_"))
    one.add_argument("--overlap", choices=Overlap.values, help="at a fire while the last task has not ended")
    one.add_argument("--catch-up", choices=CatchUp.values, help="about fires that came while no scheduler ran")
    for name in OPTIONS:
        add_option(one, FIELDS[name])
    lists.add_secrets_option(one)
    parsing.add_reason(one)


def _add_named(
    nouns: parsing.Commands,
    name: str,
    run: parsing.Run,
    *,
    help: str,  # noqa: A002 - argparse's word
    example: str,
) -> CommandParser:
    parser = parsing.add_command(nouns, name, run, help=help, examples=[example])
    parser.add_argument("name", metavar="NAME", help="a name or an id")
    return parser


def list_schedules(options: Namespace, out: Output) -> None:
    """List schedules."""
    sight = _sight(options)
    lists.show(
        Schedule.objects.all(), options, out, filters=FILTERS,
        write=lambda found: [_as_dict(one, sight) for one in found], columns=COLUMNS,
    )  # fmt: skip


def show(options: Namespace, out: Output) -> None:
    """Show one schedule."""
    schedule = _find(options.name)
    results = results_of(last_tasks(schedule)[:MOST_RESULTS], url=lists.address("api-tasks"))
    record = {**_as_dict(schedule, _sight(options)), "last_results": results}
    out.record(record, hidden=("url", "hidden"), parts={"last_results": _RESULTS})


def add(options: Namespace, out: Output) -> None:
    """Add a schedule."""
    names = [name for _, name, _, _ in _TIMING] + ["name", "actor", "overlap", "catch_up", *OPTIONS]
    body = {name: getattr(options, name) for name in names} | {"payload": payload.read(options.payload)}
    if body["priority"] and body["priority"].isdigit():
        body["priority"] = int(body["priority"])
    try:
        name, definition = read_schedule(body)
    except InvalidTask as error:
        raise CommandError(describe(error.errors) or error.detail, returncode=USAGE) from error
    schedule = schedules.add(name, definition, by=operator.author(options))
    out.record(_as_dict(schedule, _sight(options)), hidden=_HIDDEN)


def pause(options: Namespace, out: Output) -> None:
    """Pause schedules."""
    _apply(schedules.pause, options, out)


def resume(options: Namespace, out: Output) -> None:
    """Resume schedules."""
    _apply(schedules.resume, options, out)


def remove(options: Namespace, out: Output) -> None:
    """Remove schedules."""
    _apply(schedules.remove, options, out)


def run_now(options: Namespace, out: Output) -> None:
    """Submit one task of a schedule."""
    task = schedules.run(_find(options.name).pk, by=operator.author(options))
    if out.is_plain and not out.is_json:
        out.lines([str(task.pk)])
    else:
        out.record(tasks.as_dict(task, sees=lambda _: Sight.MASKED), hidden=("url",))


def preview(options: Namespace, out: Output) -> None:
    """List the next fires of a schedule."""
    limit = parsing.read("--limit", fields.whole_number(1, MOST_PREVIEWED), options.limit)
    after = _moment("--after", options.after) if options.after else schedules.database_now()
    out.rows(preview_as_list(_find(options.name), after=after, limit=limit), _FIRES)


def backfill(options: Namespace, out: Output) -> None:
    """Fill a range of a schedule."""
    start, end = _moment("--start", options.start), _moment("--end", options.end)
    schedule = _find(options.name)
    count = schedules.backfill(schedule.pk, start=start, end=end, by=operator.author(options))
    out.record({"name": schedule.name, "fires": count, "start": options.start, "end": options.end})


def _apply(verb: Callable[..., Any], options: Namespace, out: Output) -> None:
    """Call the verb for each schedule, or for none if one is unknown, and print those that are left."""
    found, by = [_find(name) for name in options.names], operator.author(options)
    for one in found:
        verb(one.pk, by=by)
    left = Schedule.objects.in_bulk([one.pk for one in found])
    out.rows([_as_dict(left[one.pk], Sight.MASKED) for one in found if one.pk in left], COLUMNS)


def _find(text: str) -> Schedule:
    """Find a schedule by its name, or else by its id."""
    found = Schedule.objects.filter(name=text).first()
    if found is None:
        try:
            id: UUID = fields.identifier(text)
        except fields.InvalidValue:
            raise NotFound(f"there is no schedule {text!r:.110}") from None
        found = Schedule.objects.filter(pk=id).first()
    if found is None:
        raise NotFound(f"there is no schedule {text!r:.110}")
    return found


def _moment(name: str, text: str) -> datetime:
    found: datetime = parsing.read(name, fields.moment, text)
    return found


def _sight(options: Namespace) -> Sight:
    return lists.sees(options)(None)


def _as_dict(schedule: Schedule, sight: Sight) -> dict[str, Any]:
    return schedule_as_dict(schedule, url=lists.address("api-schedules"), lens=Lens(sight, schedule))
