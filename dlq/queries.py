"""Open dead letters, grouped and counted: a broken deploy leaves hundreds of them, and one decision to make."""

from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count
from django.db.models.functions import Left

from dlq.models import DeadLetter

#: The newest open dead letters that are read.
MOST_LETTERS = 1_000
LONGEST_ERROR = 200
#: Read of each error, so that what is cut off has been masked before.
_MOST_READ = 1_000


@dataclass(frozen=True)
class Cause:
    """A fingerprint that some of the open dead letters share."""

    fingerprint: str
    letters: int
    actor: str
    #: Of the newest of them: numbers and ids in it differ.
    error_type: str
    error_message: str
    task_id: UUID


@dataclass(frozen=True)
class Causes:
    """The causes of the open dead letters, most frequent first."""

    rows: list[Cause]
    letters: int
    is_capped: bool


def open_causes(*, most: int) -> Causes:
    """Group the newest open dead letters."""
    fields = ("fingerprint", "actor", "error_type", Left("error_message", _MOST_READ), "task_id")
    letters = list(DeadLetter.objects.open().newest_first().values_list(*fields)[: MOST_LETTERS + 1])
    shown = letters[:MOST_LETTERS]
    # From old to new, so that the newest error of each fingerprint is kept.
    newest: dict[str, Any] = {fingerprint: rest for fingerprint, *rest in reversed(shown)}
    frequent = Counter(fingerprint for fingerprint, *_ in shown).most_common(most)
    rows = [Cause(one, count, *newest[one]) for one, count in frequent]
    return Causes(rows, len(shown), is_capped=len(letters) > MOST_LETTERS)


def error_line(error_type: str, message: str) -> str:
    """Join an error's type and message; either may be missing."""
    return f"{error_type}: {message}".strip(": ")


def open_by_actor() -> dict[str, int]:
    """Count all open dead letters by actor."""
    return dict(DeadLetter.objects.open().order_by().values_list("actor").annotate(number=Count("*")))
