"""The only code that writes ``Task.status``: one function per verb, for one task or for many.

Every write is a compare-and-set: the guard and the change are one SQL statement, so that of two racing verbs one wins
and the other finds nothing to do. Batch verbs return the tasks that they moved and skip the rest; verbs for one task
call the batch verb, and raise ``NotFound`` or ``IllegalTransition`` with the current status if nothing moved.
``docs/state_machine.md`` has the diagram; each verb is a file here. ``predicates`` and ``rows`` hold what verbs share.
"""

from tasks.lifecycle.announcements import Moved, transitioned
from tasks.lifecycle.batch_steps import settle_batches
from tasks.lifecycle.batches import NewBatch
from tasks.lifecycle.cancel import cancel, cancel_many
from tasks.lifecycle.claim import Claimed, NotEntitled, claim_many
from tasks.lifecycle.complete import Outcome, complete_many, fail, interrupt, recorded, snooze, still_held, succeed
from tasks.lifecycle.delete import delete
from tasks.lifecycle.discard import discard, discard_many, discard_old
from tasks.lifecycle.dispatch import Dispatched, Probe, Share, dispatch_many
from tasks.lifecycle.edit import edit
from tasks.lifecycle.expire import expire_many
from tasks.lifecycle.failures import fold_failures, look_after, prune_failures, recount_failures
from tasks.lifecycle.journal import Author
from tasks.lifecycle.operation_steps import note_error, open_operations, prune_operations, step_operation
from tasks.lifecycle.prune import prune_batches, prune_dead_letters, prune_history, prune_keys, prune_many
from tasks.lifecycle.put_back import put_back_many
from tasks.lifecycle.redrive import redrive, redrive_many
from tasks.lifecycle.release import forsake_many, link_many, release_many, settle_all
from tasks.lifecycle.requeue import queued_long, requeue_many, take_back
from tasks.lifecycle.rescue import rescue_lost, rescue_stuck
from tasks.lifecycle.restore import restore, restore_many
from tasks.lifecycle.retry import retry, retry_many
from tasks.lifecycle.signal import signal
from tasks.lifecycle.submit import accept, submit, submit_by, submit_many
from tasks.lifecycle.submit_once import Receipt, submit_many_once, submit_once
from tasks.lifecycle.workflow import cancel_workflow, retry_workflow
from tasks.submission import FOR_EVER, DependsOn, Submission

__all__ = [
    "FOR_EVER",
    "Author",
    "Claimed",
    "DependsOn",
    "Dispatched",
    "Moved",
    "NewBatch",
    "NotEntitled",
    "Outcome",
    "Probe",
    "Receipt",
    "Share",
    "Submission",
    "accept",
    "cancel",
    "cancel_many",
    "cancel_workflow",
    "claim_many",
    "complete_many",
    "delete",
    "discard",
    "discard_many",
    "discard_old",
    "dispatch_many",
    "edit",
    "expire_many",
    "fail",
    "fold_failures",
    "forsake_many",
    "interrupt",
    "link_many",
    "look_after",
    "note_error",
    "open_operations",
    "prune_batches",
    "prune_dead_letters",
    "prune_failures",
    "prune_history",
    "prune_keys",
    "prune_many",
    "prune_operations",
    "put_back_many",
    "queued_long",
    "recorded",
    "recount_failures",
    "redrive",
    "redrive_many",
    "release_many",
    "requeue_many",
    "rescue_lost",
    "rescue_stuck",
    "restore",
    "restore_many",
    "retry",
    "retry_many",
    "retry_workflow",
    "settle_all",
    "settle_batches",
    "signal",
    "snooze",
    "step_operation",
    "still_held",
    "submit",
    "submit_by",
    "submit_many",
    "submit_many_once",
    "submit_once",
    "succeed",
    "take_back",
    "transitioned",
]
