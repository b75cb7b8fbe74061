"""The work of the shop: how often each actor runs, for how long, and how it fails."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

#: The length of the history: less than KEEP_SUCCEEDED_SECONDS, after which tasks are pruned.
SPAN = timedelta(hours=23)
#: How long before now each of these happened.
DEPLOYED, PAUSED, RESUMED, FIXED, CANARY = (timedelta(minutes=minutes) for minutes in (55, 45, 40, 18, 12))
CURRENCIES = ("EUR", "USD", "CHF")


@dataclass(frozen=True)
class Cause:
    """Why an attempt fails.

    Parameters:
        frame: file, line number, function and source line of the innermost frame.
    """

    error_type: str
    message: str
    frame: tuple[str, int, str, str]

    @property
    def traceback(self) -> str:
        """The traceback as Python writes it."""
        file, line, function, code = self.frame
        where = f'  File "{file}", line {line}, in {function}\n    {code}\n'
        return f"Traceback (most recent call last):\n{where}{self.error_type}: {self.message}\n"


BUG = Cause("KeyError", "'CHF'", ("shop/actors.py", 19, "charge_card", "step = ROUNDING[currency]"))
NO_ANSWER = Cause(
    "TimeoutError", "the bank did not answer within 10 s", ("shop/bank.py", 57, "post", "return self._read(sock)")
)
REFUSED = Cause(
    "ConnectionRefusedError",
    "[Errno 111] mail.example.org:25",
    ("shop/mail.py", 23, "connect", "sock.connect(to)"),
)
BROKEN = Cause("ValueError", "the image is truncated", ("shop/photos.py", 40, "read", "image.load()"))


@dataclass(frozen=True)
class Work:
    """The work of one actor.

    Parameters:
        per_hour: tasks in a busy hour.
        seconds: the duration of a usual run.
        failing: the share of runs that fail by chance, with ``cause``.
        delay: the time between submission and ``run_at``.
        every: the cron expression of the schedule that makes its tasks; empty: customers make them.
    """

    actor: str
    queue: str
    priority: int
    per_hour: int
    seconds: float
    payload: Callable[[Random], dict[str, Any]]
    cause: Cause
    failing: float = 0.0
    max_retries: int = 3
    backoff_seconds: float = 15.0
    delay: timedelta = timedelta(0)
    every: str = ""


def _order(rng: Random) -> int:
    return rng.randint(20_000, 99_999)


def _mail(rng: Random) -> dict[str, Any]:
    return {"order": _order(rng), "to": f"customer{rng.randint(1, 4_000)}@example.com"}


def _charge(rng: Random) -> dict[str, Any]:
    return {"order": _order(rng), "cents": rng.randint(300, 40_000), "currency": rng.choice(CURRENCIES)}


def _photo(rng: Random) -> dict[str, Any]:
    return {"photo": rng.randint(1, 9_000), "width": rng.choice((320, 640, 1280))}


WORK = (
    Work("charge_card", "payments", 8, 480, 0.4, _charge, NO_ANSWER, 0.004, max_retries=2, backoff_seconds=5),
    Work("send_receipt", "mail", 5, 300, 0.25, _mail, REFUSED, 0.06),
    Work("send_reminder", "mail", 3, 40, 0.25, _mail, REFUSED, 0.02, delay=timedelta(hours=6)),
    Work("resize_photo", "default", 5, 120, 1.6, _photo, BROKEN, 0.02, max_retries=1),
    Work("sync_stock", "default", 5, 60, 2.5, lambda _: {"warehouse": "Basel"}, NO_ANSWER, 0.002, every="* * * * *"),
    Work("build_report", "default", 2, 1, 140.0, lambda _: {"name": "sales"}, NO_ANSWER, every="0 * * * *"),
)


def starts(work: Work, *, since: datetime, until: datetime, rng: Random) -> list[datetime]:
    """Draw the times at which an actor's tasks become due: those of its schedule, or more by day than by night."""
    step = timedelta(hours=1) / work.per_hour
    if work.every:
        first = since.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        return [first + step * number for number in range(math.ceil((until - first) / step))]
    found, at = [], since
    while (at := at + step * rng.expovariate(1.0)) < until:
        if rng.random() < _busyness(at):
            found.append(at)
    return found


def _busyness(at: datetime) -> float:
    return 0.75 - 0.25 * math.cos((at.hour + at.minute / 60 - 3) / 12 * math.pi)
