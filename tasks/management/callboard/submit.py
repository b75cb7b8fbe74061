"""``callboard submit``: submit one task, and wait for its end if asked to."""

import time
from argparse import Namespace
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tasks import lifecycle
from tasks.contract.sight import Lens
from tasks.contract.submissions import read_values
from tasks.errors import Duplicate, InvalidTask, NotFound, describe
from tasks.management.callboard import lists, parsing, payload, tasks
from tasks.management.callboard.exit_codes import REFUSED, TIMED_OUT, USAGE
from tasks.management.callboard.output import Output
from tasks.models import Task
from tasks.queries.forecast import expected_start
from tasks.states import Status
from tasks.submission import FIELDS, Dependencies, Moment, Seconds, Submission, Tags, TaskField, WholeNumber
from tasks.unique import ON_CONFLICT, UNTIL

_SHORTEST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.05, 1.0
_HIDDEN = ("url",)
#: The fields that are options; the actor is the argument, and the payload has several forms.
_OPTIONS = [one for one in FIELDS.values() if one.name not in ("actor", "payload", "ref", "unique")]


def register(commands: parsing.Commands) -> None:
    """Add the command."""
    parser = parsing.add_command(
        commands, "submit", submit, help="submit one task",
        examples=[
            "submit echo --payload message=hello",
            "submit sleep --payload duration=0.5 --priority high --wait",
            "submit send_mail --payload '{\"to\": \"ada@example.org\"}' --delay 60 --tag newsletter",
            "submit report --depends-on 01985c4e-7d6a-7cc2-b1a5-0e2f5c1d9a10",
            "submit import_orders --payload @orders.json --queue slow --max-retries 5",
            "submit reindex --delay 60 --unique-key products --unique-on-conflict replace",
        ],
    )  # fmt: skip
    parser.add_argument("actor", metavar="ACTOR")
    payload.add_argument(parser)
    for one in _OPTIONS:
        add_option(parser, one)
    _add_unique(parser)
    lists.add_secrets_option(parser)
    parser.add_argument(
        "--wait", nargs="?", type=float, const=float("inf"), metavar="SECONDS",
        help="wait until the task has ended, at most this long, and print it with its result; exit with 0 if it "
        "succeeded, with 1 if it did not, and with 124 if the time was over first",
    )  # fmt: skip


def submit(options: Namespace, out: Output) -> None:
    """Submit the task, and wait if asked to."""
    sees = lists.sees(options)
    try:
        task = lifecycle.submit(_submission(options))
    except Duplicate as error:
        raise CommandError(str(error), returncode=REFUSED) from error
    if options.wait is not None:
        task = _await_end(task, seconds=options.wait)
    if out.is_json or not out.is_plain or options.wait is not None:
        out.record(tasks.as_dict(task, sees=sees), hidden=_HIDDEN)
    else:
        out.lines([str(task.pk)])
    if options.wait is not None and task.status != Status.SUCCEEDED:
        raise CommandError(
            f"task {task.pk} is {task.status}: {Lens(sees(task.owner_id), task).text(task.error) or 'no error'}",
            returncode=REFUSED,
        )


def add_option(parser: CommandParser, one: TaskField) -> None:
    """Define the option of a field: --time-limit SECONDS for time_limit_seconds, --tag TAG for one of the tags."""
    name = one.name
    how: dict[str, Any] = {"dest": one.name, "help": one.help + (" Default: the actor's." if one.actor_option else "")}
    match one.kind:
        case Seconds():
            name, how = name.removesuffix("_seconds"), how | {"type": float, "metavar": "SECONDS"}
        case WholeNumber():
            how |= {"type": int, "metavar": "N"}
        case Moment():
            how |= {"metavar": "TIME", "help": f"{one.help} Such as 2030-01-31T09:00:00Z."}
        case Tags():
            name = name.removesuffix("s")
            how |= {"action": "append", "metavar": name.upper(), "help": f"{one.help} May be repeated."}
        case Dependencies():
            more = "Write batch:ID for a batch, and ID:run or ID:block for on_failure. May be repeated."
            how |= {"action": "append", "metavar": "ID", "help": f"{one.help} {more}"}
    parser.add_argument(f"--{name.replace('_', '-')}", **how)


#: What begins the name of a batch that the task depends on.
_BATCH = "batch:"


def _dependency(text: str) -> dict[str, str]:
    rest = text.removeprefix(_BATCH)
    id, _, on_failure = rest.partition(":")
    return {"id" if rest == text else "batch": id, **({"on_failure": on_failure} if on_failure else {})}


def _add_unique(parser: CommandParser) -> None:
    group = parser.add_argument_group("unique key", FIELDS["unique"].help)
    group.add_argument("--unique-key", metavar="KEY", help="the key")
    group.add_argument("--unique-until", metavar="WHEN", help=f"when the task gives it up: {' or '.join(UNTIL)}")
    group.add_argument("--unique-ttl", type=float, metavar="SECONDS", help="give it up this long after submission")
    group.add_argument(
        "--unique-on-conflict", metavar="HOW", help=f"if a task has the key: {', '.join(ON_CONFLICT)}; default return"
    )
    group.add_argument(
        "--unique-max-wait", type=float, metavar="SECONDS", help="how far replacements postpone the task in all"
    )


def _unique(options: Namespace) -> dict[str, Any] | None:
    given = {
        "key": options.unique_key,
        "until": options.unique_until,
        "ttl_seconds": options.unique_ttl,
        "on_conflict": options.unique_on_conflict,
        "max_wait_seconds": options.unique_max_wait,
    }
    return given if any(value is not None for value in given.values()) else None


def _submission(options: Namespace) -> Submission:
    body = {one.name: getattr(options, one.name) for one in _OPTIONS} | {"unique": _unique(options)}
    body |= {"actor": options.actor, "payload": payload.read(options.payload)}
    body["depends_on"] = [_dependency(text) for text in body["depends_on"] or ()]
    if body["priority"] and body["priority"].isdigit():
        body["priority"] = int(body["priority"])
    try:
        return Submission(**read_values(body))
    except InvalidTask as error:
        raise CommandError(describe(error.errors), returncode=USAGE) from error


def _await_end(task: Task, *, seconds: float) -> Task:
    """Wait until a task has ended.

    Raises:
        CommandError: the task has not ended in time; it continues.
        NotFound: it was deleted.
    """
    deadline = time.monotonic() + seconds
    pause = _SHORTEST_POLL_SECONDS
    while not task.is_final:
        if time.monotonic() >= deadline:
            raise CommandError(f"{_described(task)} after {seconds:g} s; it continues", returncode=TIMED_OUT)
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 1.2, _LONGEST_POLL_SECONDS)
        try:
            task.refresh_from_db()
        except Task.DoesNotExist as error:
            raise NotFound(f"task {task.pk} was deleted") from error
    return task


def _described(task: Task) -> str:
    forecast = expected_start(task)
    why = f", because {forecast.obstacle}," if forecast and forecast.obstacle else ""
    return f"task {task.pk} is still {task.status}{why}"
