"""The client's own record of its calls and their answers."""

from dataclasses import dataclass, field
from typing import Literal

#: ``unknown``: the connection broke before an answer came. All of the tasks may exist, or none.
Answer = Literal["ok", "failed", "unknown"]


@dataclass(frozen=True)
class Submission:
    """One call that submits tasks."""

    #: The tag on each of its tasks.
    name: str
    answer: Answer
    count: int
    task_ids: tuple[str, ...] = ()
    #: Whether all of them exist, or none; of the callbacks of a batch, some may.
    is_counted: bool = True


@dataclass
class History:
    """Everything one client did."""

    submissions: list[Submission] = field(default_factory=list)
    #: Ids of accepted batches.
    batches: list[str] = field(default_factory=list)
    #: Ids of tasks that the client retried or re-drove, once for each time.
    second_lives: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> list[str]:
        """Ids of all accepted tasks."""
        return [id for one in self.submissions if one.answer == "ok" for id in one.task_ids]
