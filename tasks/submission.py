"""The fields of a task that a caller may give, each declared once.

Submission, bounds, the INSERT statement, the REST API and its OpenAPI description, edits and the command line read this
declaration. A new field is a field of ``Submission``, a column with a migration, and its own logic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from tasks.priority import BANDS, HIGHEST, LOWEST
from tasks.retry import MOST_SECONDS
from tasks.states import OnFailure
from tasks.unique import Unique

#: The key of a user; a project chooses its type.
OwnerId = int | str | UUID

#: The most tasks that one may depend on, and the most dependencies of one bulk.
MOST_PARENTS = 10_000
#: In characters.
LONGEST_REF = 100


class DependsOn(NamedTuple):
    """What a task waits for: a task by its id, or by its ``ref`` in the same bulk; or the end of a batch.

    A batch fails unless all of its tasks succeed.
    """

    task: UUID | str | None = None
    on_failure: OnFailure = OnFailure.CANCEL
    batch: UUID | None = None


#: As ``max_retries``: never give up. (None is taken: it means "as the actor says".)
FOR_EVER = -1

# --- Kinds of values: the input of doors and the type of the column ---------------------------------------------


@dataclass(frozen=True)
class Text:
    """Text of at least one character."""

    longest: int
    sql: ClassVar = "text"


@dataclass(frozen=True)
class JsonObject:
    """A JSON object."""

    sql: ClassVar = "jsonb"


@dataclass(frozen=True)
class Tags:
    """A list of short texts."""

    most: int
    longest: int
    sql: ClassVar = "text[]"


@dataclass(frozen=True)
class Moment:
    """A date and time with its zone."""

    sql: ClassVar = "timestamptz"


@dataclass(frozen=True)
class Priority:
    """A whole number, or at a door the name of a band."""

    lowest: int = LOWEST
    highest: int = HIGHEST
    sql: ClassVar = "smallint"


@dataclass(frozen=True)
class Seconds:
    """A duration, up to a hundred years."""

    #: Whether doors take 0.
    takes_zero: bool = True
    highest: float = MOST_SECONDS
    sql: ClassVar = "double precision"


@dataclass(frozen=True)
class WholeNumber:
    """A number from 0 on; code may give more than doors take."""

    highest: int
    highest_from_code: int = 2**31 - 1
    sql: ClassVar = "integer"


@dataclass(frozen=True)
class Reference:
    """A name that other tasks of the same bulk know a task by; it is not kept."""

    longest: int
    sql: ClassVar = ""


@dataclass(frozen=True)
class Dependencies:
    """Tasks to wait for; they are rows of their own."""

    most: int = MOST_PARENTS
    sql: ClassVar = ""


@dataclass(frozen=True)
class BatchId:
    """The id of a batch; the row has it in a column of another name."""

    sql: ClassVar = ""


@dataclass(frozen=True)
class UniqueRule:
    """An object with a unique key; the row has it in two columns of other names."""

    sql: ClassVar = ""


Kind = (
    Dependencies
    | Reference
    | Text
    | JsonObject
    | Tags
    | Moment
    | Priority
    | Seconds
    | WholeNumber
    | UniqueRule
    | BatchId
)


@dataclass(frozen=True, kw_only=True)
class TaskField:
    """One field of a task that a caller may give."""

    name: str
    kind: Kind
    #: Its meaning, in one sentence for every door.
    help: str
    #: The meaning of null in a task; empty if a task always has a value.
    if_null: str = ""
    #: The attribute of ``ActorSpec`` that is the default.
    actor_option: str = ""
    #: Whether it can be changed while the task waits.
    is_editable: bool = False
    #: Whether the task has a column of this name.
    is_column: bool = True


# --- The declaration --------------------------------------------------------------------------------------------

_DECLARED = "declared"


def _declare(kind: Kind, description: str, **more: Any) -> dict[str, Any]:
    return {_DECLARED: {"kind": kind, "help": description, **more}}


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A request for a task; None means the actor's option, or else the setting. Times in seconds, ``run_at`` with zone.

    ``max_retries=FOR_EVER`` retries without end. Fields with a declaration are open to every door; the others are for
    code. A follow-up contains accepted values and adds to them, so its bounds are wider.
    """

    actor: str = field(metadata=_declare(Text(255), "The actor that runs the task."))
    payload: Mapping[str, Any] = field(
        default_factory=dict,
        metadata=_declare(JsonObject(), "The actor's keyword arguments.", is_editable=True),
    )
    args: Sequence[Any] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = field(
        default=None,
        metadata=_declare(
            Priority(),
            f"{LOWEST} to {HIGHEST}, {HIGHEST} runs first; "
            f"or {', '.join(f'{band.name} ({band.default})' for band in BANDS)} in upper or lower case.",
            actor_option="default_priority",
            is_editable=True,
        ),
    )
    queue: str | None = field(
        default=None,
        metadata=_declare(Text(100), "The queue; some actor must declare it.", actor_option="queue", is_editable=True),
    )
    run_at: datetime | None = field(
        default=None,
        metadata=_declare(
            Moment(),
            "The task starts no earlier than this; a time in the past means now. A retry sets it to the retry's time.",
            is_editable=True,
        ),
    )
    delay_seconds: float = field(
        default=0,
        metadata=_declare(
            Seconds(), "The task starts no earlier than this long after submission; not with run_at.", is_column=False
        ),
    )
    max_retries: int | None = field(
        default=None,
        metadata=_declare(
            WholeNumber(10_000),
            "How many failed executions are retried.",
            if_null="retried for ever",
            actor_option="max_retries",
            is_editable=True,
        ),
    )
    min_backoff_seconds: float | None = field(
        default=None,
        metadata=_declare(
            Seconds(), "The delay before the first retry; it doubles with each.", actor_option="min_backoff_seconds"
        ),
    )
    max_backoff_seconds: float | None = field(
        default=None,
        metadata=_declare(Seconds(), "The longest delay before a retry.", actor_option="max_backoff_seconds"),
    )
    retry_for_seconds: float | None = field(
        default=None,
        metadata=_declare(
            Seconds(),
            "The task dies if it still fails this long after its first failure.",
            if_null="no limit",
            actor_option="retry_for_seconds",
        ),
    )
    time_limit_seconds: float | None = field(
        default=None,
        metadata=_declare(
            Seconds(), "An execution is interrupted after this long; 0 means never.", actor_option="time_limit_seconds"
        ),
    )
    max_age_seconds: float | None = field(
        default=None,
        metadata=_declare(
            Seconds(takes_zero=False),
            "The task dies if it has not started this long after submission.",
            if_null="no limit",
            actor_option="max_age_seconds",
        ),
    )
    estimated_seconds: float | None = field(
        default=None,
        metadata=_declare(Seconds(), "How long the task is expected to run.", if_null="not known"),
    )
    tags: Sequence[str] = field(
        default=(), metadata=_declare(Tags(most=50, longest=100), "Labels to find the task by.", is_editable=True)
    )
    fairness_key: str | None = field(
        default=None,
        metadata=_declare(
            Text(100),
            "Whose turn the task takes, such as a customer's: tasks of one priority with different keys take turns.",
            if_null="the turn of all tasks without a key",
        ),
    )
    depends_on: Sequence[DependsOn | UUID] = field(
        default=(),
        metadata=_declare(
            Dependencies(),
            "The tasks and batches that must end first; a task by id or, in a bulk, by ref. on_failure says what "
            "happens when it dies or is cancelled, or a task of the batch does: cancel (the default) cancels this "
            "task, run lets it run, block leaves it blocked.",
            is_column=False,
        ),
    )
    ref: str | None = field(
        default=None,
        metadata=_declare(
            Reference(LONGEST_REF), "A name by which tasks of the same bulk may depend on this one.", is_column=False
        ),
    )
    unique: Unique | Mapping[str, Any] | str | None = field(
        default=None,
        metadata=_declare(
            UniqueRule(),
            "At most one of your tasks of this actor has the key at a time.",
            is_column=False,
        ),
    )
    batch: UUID | None = field(
        default=None,
        metadata=_declare(BatchId(), "The open batch that counts the task.", is_column=False),
    )
    owner_id: OwnerId | None = None
    trace_id: str = ""
    is_followup: bool = False
    #: The id of its Dramatiq message, which becomes the task's if it can.
    message_id: str = ""
    #: The row that ``checked`` has made of it already; it is written as it is, and no validator runs again.
    row: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)


def spread(submissions: Sequence[Submission], *, seconds: float) -> list[Submission]:
    """Let tasks become due one after the other over this time, in their order; each may also wait for its own time."""
    step = timedelta(seconds=seconds / max(len(submissions), 1))
    return [_postponed(one, place * step) for place, one in enumerate(submissions)] if seconds else [*submissions]


def _postponed(one: Submission, by: timedelta) -> Submission:
    if one.run_at is not None:
        return replace(one, run_at=one.run_at + by)
    return replace(one, delay_seconds=one.delay_seconds + by.total_seconds())


#: The declared fields by name, in the order of the declaration.
FIELDS: Mapping[str, TaskField] = {
    one.name: TaskField(name=one.name, **one.metadata[_DECLARED])
    for one in fields(Submission)
    if _DECLARED in one.metadata
}
#: The fields that can be changed while a task waits.
EDITABLE: tuple[str, ...] = tuple(one.name for one in FIELDS.values() if one.is_editable)
