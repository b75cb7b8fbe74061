"""What operators do to tasks: run now, run again, signal, cancel, one by one or as a workflow."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from django.utils import timezone

from tasks import lifecycle
from tasks.admin.verb import Verb, Whole, one_by_one
from tasks.contract.access import CANCEL_TASK, EDIT_TASK, RETRY_TASK, SIGNAL_TASK, Action
from tasks.contract.signals import send_awaited
from tasks.contract.workflows import whole_of
from tasks.errors import CallboardError
from tasks.models import Task
from tasks.queries.dependencies import workflow_of
from tasks.states import OperationVerb

CANCEL = Verb(
    name="cancel",
    label="Cancel",
    command="Cancel {}",
    outcome="be cancelled",
    done="cancelled",
    permission=CANCEL_TASK.permission,
    effect="Waiting tasks end at once. Running tasks are interrupted at their worker’s next heartbeat.",
    condition="Only tasks that have not ended can be cancelled, and only once.",
    legal=lambda rows: rows.cancellable(),
    run=lambda ids, by: len(lifecycle.cancel_many(ids, by=by)),
    many=OperationVerb.CANCEL,
    is_danger=True,
)
RETRY = Verb(
    name="retry",
    label="Run again",
    command="Run {} again",
    outcome="run again",
    done="set to run again",
    permission=RETRY_TASK.permission,
    effect="Dead and cancelled tasks run again with a fresh set of retries. Retrying tasks skip their delay.",
    condition="Only dead, cancelled and retrying tasks can run again, if their arguments still fit the actor.",
    legal=lambda rows: rows.retryable(),
    run=lambda ids, by: len(lifecycle.retry_many(ids, by=by)),
    many=OperationVerb.RETRY,
)


#: Tasks of a workflow that its buttons are decided by: more would make a page slow.
_MOST_LOOKED_AT = 200


def _beginning(task: Task) -> tuple[Sequence[UUID], bool]:
    found = workflow_of(task.pk, most=_MOST_LOOKED_AT)
    return found.ids, found.is_complete


def _workflow(action: Action) -> Whole:
    return Whole(
        name="workflow",
        beginning=_beginning,
        ids_of=lambda row, caller: whole_of(row, caller=caller, action=action),
    )


CANCEL_WORKFLOW = replace(
    CANCEL,
    name="cancel_workflow",
    label="Cancel workflow",
    effect="This acts on all tasks that dependencies link to this one. " + CANCEL.effect,
    run=lambda ids, by: len(lifecycle.cancel_workflow(ids, by=by)),
    whole=_workflow(CANCEL_TASK),
)
RETRY_WORKFLOW = replace(
    RETRY,
    name="retry_workflow",
    label="Retry workflow",
    effect="This acts on all tasks that dependencies link to this one. Those that died or were cancelled run again "
    "with fresh retries, each after its parents. Tasks that a failed parent cancelled follow that parent.",
    condition="Only dead and cancelled tasks can run again, if their arguments still fit the actor.",
    legal=lambda rows: rows.retryable_with_workflow(),
    following=lambda rows: rows.cancelled_by_parents(),
    run=lambda ids, by: len(lifecycle.retry_workflow(ids, by=by)),
    whole=_workflow(RETRY_TASK),
)
SIGNAL = Verb(
    name="signal",
    label="Send signal",
    command="Send the signal to {}",
    outcome="continue",
    done="sent the signal that it waits for",
    permission=SIGNAL_TASK.permission,
    effect="The task continues with your name and reason as the signal’s payload.",
    condition="Only tasks that wait for a signal can be sent one.",
    legal=lambda rows: rows.waiting_for_signal(),
    run=one_by_one(send_awaited, refusals=(CallboardError,)),
)
RUN_NOW = Verb(
    name="run_now",
    label="Run now",
    command="Run {} now",
    outcome="be due at once",
    done="made due at once",
    permission=EDIT_TASK.permission,
    effect="The task no longer waits for its time. It starts when a worker is free.",
    condition="Only pending tasks that are not due yet can run now. For retrying tasks, use Run again.",
    legal=lambda rows: rows.early(),
    run=one_by_one(lambda id, by: lifecycle.edit(id, {"run_at": timezone.now()}, by=by), refusals=(CallboardError,)),
)
