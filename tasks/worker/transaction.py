"""An actor's own writes and its task's success in one commit: exactly once, whatever crashes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks import lifecycle
from tasks.current import Completion
from tasks.errors import AttemptLost
from tasks.states import AttemptOutcome
from tasks.testing import failpoints
from tasks.worker.execution import Execution
from tasks.worker.followups import FollowupNotSubmitted
from tasks.worker.outcomes import outcome_of


@contextmanager
def completing(execution: Execution, worker_id: UUID) -> Iterator[Completion]:
    """Open a transaction that ends with the task's success; see ``tasks.current.complete_in_transaction``."""
    completion = Completion()
    with transaction.atomic(durable=True):
        yield completion
        _succeed(execution, worker_id, completion.result)
        failpoints.reach("before_own_commit")
    # Only after the commit: one that fails must leave the attempt open. If it succeeded and its reply was lost, the
    # completer finds the attempt recorded.
    execution.is_completed = True
    failpoints.reach("after_own_commit")


def _succeed(execution: Execution, worker_id: UUID, result: Any) -> None:
    execution.result, execution.finished_monotonic = result, time.monotonic()
    outcome = outcome_of(execution, worker_id)
    if outcome.ended_as is not AttemptOutcome.SUCCEEDED:
        # Nothing is committed yet, so everything can be rolled back. Another attempt would end the same way.
        raise FollowupNotSubmitted(outcome.error_message)
    # Fenced like every completion: a worker that was presumed dead finds that the attempt is no longer its own.
    if not lifecycle.complete_many([outcome], waits=True):
        raise AttemptLost()
