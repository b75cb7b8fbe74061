"""The actor of the import."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import dramatiq
from django.contrib.auth.models import User

from tasks import current


class Row(NamedTuple):
    """A line of the file that is imported."""

    number: int
    username: str


def read_rows(after: int | None, count: int) -> Iterator[Row]:
    """Read the rows after a number; a real import would seek in its file, or ask its source for them."""
    for number in range((after or 0) + 1, count + 1):
        yield Row(number, f"imported-{number:05}")


@dramatiq.actor(time_limit=3_600_000)
def import_users(count: int = 600, seconds_each: float = 1.0) -> int:
    """Import accounts; each is created exactly once, however often the worker is killed or replaced."""
    rows = current.each(lambda after: read_rows(after, count), key=lambda row: row.number)
    for row in rows:
        with rows.transaction():
            User.objects.create(username=row.username, is_active=False)
            time.sleep(seconds_each)
        current.progress(row.number, count, row.username)
        if row.number % 100 == 0:
            current.log(f"{row.number} accounts")
    return count
