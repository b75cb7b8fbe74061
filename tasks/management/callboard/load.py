"""``callboard load``: submit a mix of tasks, at a rate or as fast as possible."""

import math
import random
import secrets
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from tasks import lifecycle, registry
from tasks.contract import fields
from tasks.contract.submissions import READERS
from tasks.lifecycle import Submission
from tasks.management.callboard import parsing, payload
from tasks.management.callboard.exit_codes import INTERRUPTED
from tasks.management.callboard.output import Output
from tasks.models import Task

DEFAULT_COUNT = 1_000
BATCH = 1_000
#: The interval of submissions at a rate.
TICK_SECONDS = 0.05
MOST_TASKS = 10_000_000
POLL_SECONDS = 0.25

#: The payloads of these actors; other actors get --payload.
PAYLOADS: Mapping[str, dict[str, Any]] = {
    "echo": {"message": "load"},
    "sleep": {"duration": 0.02},
    "math": {"operation": "multiply", "a": 6, "b": 7},
    "random_failure": {"failure_rate": 0.2},
    "simulate_work": {"load": True},
    "demo_ok": {"msg": "load"},
}
DEFAULT_ACTORS = ("echo=6", "sleep=2", "math=2")
DEFAULT_PRIORITIES = ("high=2", "medium=5", "low=3")
#: A task that always fails.
FAILING: Mapping[str, Any] = {"actor": "demo_fail", "payload": {"fail": True}}


def register(commands: parsing.Commands) -> None:
    """Add the command."""
    parser = parsing.add_command(
        commands, "load", load, help="submit a mix of tasks, at a rate or as fast as possible",
        examples=[
            "load --count 10000 --wait",
            "load --rate 200 --duration 60 --failure-rate 0.05",
            "load --actors echo=3 sleep=1 --priorities 10=1 1=9 --seed 42 --json",
            "load --actors send_mail --payload to=ada@example.org --count 100 --tag rehearsal",
        ],
    )  # fmt: skip
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        help=f"the number of tasks (default: {DEFAULT_COUNT}, or unlimited with --duration)",
    )
    parser.add_argument("--rate", type=float, metavar="N", help="tasks per second (default: as fast as possible)")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="stop after this time")
    parser.add_argument(
        "--actors", nargs="+", default=DEFAULT_ACTORS, metavar="NAME[=WEIGHT]",
        help=f"actors and their shares (default: {' '.join(DEFAULT_ACTORS)})",
    )  # fmt: skip
    parser.add_argument(
        "--priorities", nargs="+", default=DEFAULT_PRIORITIES, metavar="PRIORITY[=WEIGHT]",
        help=f"priorities (1 to 10, high, medium, low) and their shares (default: {' '.join(DEFAULT_PRIORITIES)})",
    )  # fmt: skip
    parser.add_argument(
        "--failure-rate",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="the share of tasks that always fail, 0 to 1 (default: 0)",
    )
    payload.add_argument(parser)
    parser.add_argument("--queue", help="the queue of all tasks (default: the actors')")
    parser.add_argument(
        "--max-retries",
        type=int,
        metavar="N",
        help="retries of each task (default: the actors'; 0 for tasks that always fail)",
    )
    parser.add_argument("--tag", help="the tag of all tasks (default: load- and a random word)")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="repeat the mix of an earlier seed (default: random, and printed)"
    )
    parser.add_argument("--wait", action="store_true", help="wait until all tasks have ended, and count them by status")


@dataclass(frozen=True)
class Pace:
    """How many tasks, how fast and for how long; None means no bound. At least one of count and duration is given."""

    count: int | None
    rate: float | None
    duration_seconds: float | None

    @property
    def total(self) -> int | None:
        """The number of tasks that will be submitted, if it is known."""
        by_time = None
        if self.rate is not None and self.duration_seconds is not None:
            by_time = int(self.rate * self.duration_seconds)
        return min((bound for bound in (self.count, by_time) if bound is not None), default=None)

    def due(self, *, elapsed_seconds: float, sent: int) -> int:
        """Tell how many tasks to submit now, at most a batch."""
        bounds = [BATCH]
        if self.total is not None:
            bounds.append(self.total - sent)
        if self.rate is not None:
            bounds.append(int(self.rate * self._within(elapsed_seconds)) - sent)
        return max(0, min(bounds))

    def is_over(self, *, elapsed_seconds: float, sent: int) -> bool:
        """Tell whether all tasks are submitted, or the time is over."""
        is_late = self.duration_seconds is not None and elapsed_seconds >= self.duration_seconds
        return is_late or (self.total is not None and sent >= self.total)

    def _within(self, elapsed_seconds: float) -> float:
        return elapsed_seconds if self.duration_seconds is None else min(elapsed_seconds, self.duration_seconds)


@dataclass(frozen=True)
class Mix:
    """The mix to draw tasks from: weights of actors and priorities."""

    actors: Mapping[str, float]
    priorities: Mapping[int, float]
    failure_rate: float
    payload: Mapping[str, Any]
    tag: str
    queue: str | None
    max_retries: int | None

    def draw(self, dice: random.Random, count: int) -> list[Submission]:
        """Draw a number of tasks."""
        return [self._one(dice) for _ in range(count)]

    def _one(self, dice: random.Random) -> Submission:
        (priority,) = dice.choices(list(self.priorities), list(self.priorities.values()))
        (actor,) = dice.choices(list(self.actors), list(self.actors.values()))
        common: dict[str, Any] = {"priority": priority, "queue": self.queue, "tags": [self.tag]}
        if dice.random() < self.failure_rate:
            return Submission(**FAILING, **common, max_retries=self.max_retries or 0)
        return Submission(
            actor=actor, payload=PAYLOADS.get(actor, self.payload), **common, max_retries=self.max_retries
        )


@dataclass
class Tally:
    """The tasks submitted so far."""

    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    ids: list[UUID] = field(default_factory=list)
    actors: Counter[str] = field(default_factory=Counter)
    priorities: Counter[int] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """The number of tasks."""
        return self.actors.total()

    @property
    def elapsed_seconds(self) -> float:
        """The time since the start."""
        return time.monotonic() - self.began

    def add(self, tasks: Sequence[Task]) -> None:
        """Count a batch; only the lowest and the highest of all ids are kept."""
        ids = [*self.ids, *(task.pk for task in tasks)]
        self.ids = [min(ids), max(ids)]
        self.actors.update(task.actor for task in tasks)
        self.priorities.update(task.priority for task in tasks)
        self.seconds = self.elapsed_seconds


# --- The command ----------------------------------------------------------------------------------------------------


def load(options: Namespace, out: Output) -> None:
    """Submit, wait if asked to, and print a summary; Ctrl-C stops and prints the summary so far."""
    pace, mix = _pace(options), _mix(options)
    seed = random.randrange(2**32) if options.seed is None else options.seed
    tally = Tally()
    ended: dict[str, int] | None = None
    was_stopped = False
    try:
        with out.progress("submitting", pace.total) as tell:
            _submit_all(pace, mix, random.Random(seed), tally, tell)
        if options.wait and tally.count:
            with out.progress("running", tally.count) as tell:
                ended = _await_end(mix.tag, tally, tell)
    except KeyboardInterrupt:
        was_stopped = True
    _print(_summary(tally, tag=mix.tag, seed=seed, ended=ended), out)
    if was_stopped:
        raise CommandError("stopped; the submitted tasks stay", returncode=INTERRUPTED)


def _submit_all(pace: Pace, mix: Mix, dice: random.Random, tally: Tally, tell: Callable[[int], None]) -> None:
    while True:
        elapsed = tally.elapsed_seconds
        if size := pace.due(elapsed_seconds=elapsed, sent=tally.count):
            tally.add(lifecycle.submit_many(mix.draw(dice, size)))
            tell(tally.count)
        if pace.is_over(elapsed_seconds=elapsed, sent=tally.count):
            return
        if size < BATCH:
            time.sleep(TICK_SECONDS)


def _await_end(tag: str, tally: Tally, tell: Callable[[int], None]) -> dict[str, int]:
    """Wait until all tasks have ended; count them by status."""
    tasks = Task.objects.filter(pk__range=tally.ids).tagged(tag)
    while (ended := tasks.final().count()) < tally.count:
        tell(ended)
        time.sleep(POLL_SECONDS)
    tell(ended)
    return tasks.counted_by_status()


def _summary(tally: Tally, *, tag: str, seed: int, ended: dict[str, int] | None) -> dict[str, Any]:
    whole = tally.elapsed_seconds
    return {
        "tag": tag,
        "seed": seed,
        "tasks": tally.count,
        "submit_seconds": round(tally.seconds, 3),
        "submitted_per_second": _rate(tally.count, tally.seconds),
        "actors": dict(sorted(tally.actors.items())),
        "priorities": {str(priority): count for priority, count in sorted(tally.priorities.items(), reverse=True)},
        "ended": ended,
        "end_seconds": None if ended is None else round(whole, 3),
        "ended_per_second": None if ended is None else _rate(tally.count, whole),
    }


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds else 0.0


def _print(summary: dict[str, Any], out: Output) -> None:
    counts = ("actors", "priorities", "ended")
    if out.is_json:
        out.json(summary)
        return
    told = {name: value for name, value in summary.items() if name not in counts}
    told |= {f"{name} {key}": count for name in counts for key, count in (summary[name] or {}).items()}
    out.record(told)


# --- Options -------------------------------------------------------------------------------------------------------


def _pace(options: Namespace) -> Pace:
    count = _optional("--count", fields.whole_number(1, MOST_TASKS), options.count)
    rate = _optional("--rate", _positive, options.rate)
    duration = _optional("--duration", fields.seconds(above=0), options.duration)
    if count is None and duration is None:
        count = DEFAULT_COUNT
    return Pace(count, rate, duration)


def _mix(options: Namespace) -> Mix:
    mix = Mix(
        actors=_weights("--actors", options.actors, _actor),
        priorities=_weights("--priorities", options.priorities, _priority),
        failure_rate=parsing.read("--failure-rate", _share, options.failure_rate),
        payload=payload.read(options.payload),
        tag=options.tag or f"load-{secrets.token_hex(4)}",
        queue=options.queue,
        max_retries=_optional("--max-retries", READERS["max_retries"], options.max_retries),
    )
    if mix.failure_rate:
        registry.get(FAILING["actor"])
    return mix


def _optional(name: str, reader: fields.Reader, value: Any) -> Any:
    return None if value is None else parsing.read(name, reader, value)


def _weights(name: str, words: Sequence[str], read: Callable[[str], Any]) -> dict[Any, float]:
    """Read words of the form ``NAME`` or ``NAME=WEIGHT``."""
    found = {}
    for word in words:
        key, equals, weight = word.partition("=")
        found[parsing.read(name, read, key)] = parsing.read(name, _weight, weight) if equals else 1.0
    return found


def _actor(name: str) -> str:
    return registry.get(name).name


def _priority(word: str) -> int:
    return fields.priority(int(word) if word.isdigit() else word)


def _weight(text: str) -> float:
    try:
        return _positive(float(text))
    except ValueError:
        raise fields.InvalidValue("invalid", f"expected a weight above 0, got {fields.quoted(text)}") from None


def _positive(value: float) -> float:
    if not 0 < value < math.inf:
        raise fields.InvalidValue("invalid", f"expected a number above 0, got {value:g}")
    return value


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise fields.InvalidValue("invalid", f"expected 0 to 1, got {value:g}")
    return value
