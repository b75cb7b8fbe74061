"""The states of tasks, attempts, workers and dead letters, and the other names that rows and the API choose from."""

from django.db.models import TextChoices


class Status(TextChoices):
    """Where a task is in its life; ``docs/state_machine.md`` has the diagram."""

    BLOCKED = "BLOCKED", "Blocked"
    PENDING = "PENDING", "Pending"
    QUEUED = "QUEUED", "Queued"
    RUNNING = "RUNNING", "Running"
    RETRYING = "RETRYING", "Retrying"
    SUCCEEDED = "SUCCEEDED", "Succeeded"
    DEAD = "DEAD", "Dead"
    CANCELLED = "CANCELLED", "Cancelled"


#: May be handed to the broker once ``run_at`` has come.
DUE = frozenset({Status.PENDING, Status.RETRYING})
#: Not started; an operator can still edit, cancel or expire it.
WAITING = frozenset({Status.BLOCKED, Status.PENDING, Status.QUEUED, Status.RETRYING})
#: Nothing but an operator's verb or the pruner moves it on.
FINAL = frozenset({Status.SUCCEEDED, Status.DEAD, Status.CANCELLED})
#: An operator can let it run again, or sooner; in the order in which errors name them.
RETRYABLE = (Status.DEAD, Status.RETRYING, Status.CANCELLED)


class OnFailure(TextChoices):
    """What becomes of a task when one that it depends on dies or is cancelled; the values are the API's contract."""

    CANCEL = "cancel", "Cancel it"
    RUN = "run", "Run it all the same"
    BLOCK = "block", "Leave it blocked"


class EdgeState(TextChoices):
    """What a dependency says about its child; ``docs/state_machine.md`` has who changes it."""

    NEW = "NEW", "Not linked to its parent yet"
    OPEN = "OPEN", "The parent has not ended"
    MET = "MET", "The child need not wait for the parent"
    FAILED = "FAILED", "The parent's end cancelled the child"


class AttemptOutcome(TextChoices):
    """How one execution ended."""

    SUCCEEDED = "SUCCEEDED", "Succeeded"
    FAILED = "FAILED", "Failed"
    TIMED_OUT = "TIMED_OUT", "Timed out"
    SNOOZED = "SNOOZED", "Snoozed"
    INTERRUPTED = "INTERRUPTED", "Interrupted"
    CANCELLED = "CANCELLED", "Cancelled"
    CRASHED = "CRASHED", "Crashed"
    LOST = "LOST", "Lost"


class TaskOutcome(TextChoices):
    """What statistics count: that a task came in, or the status in which an attempt or a verb left it."""

    SUBMITTED = "SUBMITTED", "Submitted, or brought back by a retry or re-drive"
    SUCCEEDED = "SUCCEEDED", "Succeeded"
    RETRYING = "RETRYING", "Failed and retried"
    DEAD = "DEAD", "Died"
    CANCELLED = "CANCELLED", "Cancelled"
    PENDING = "PENDING", "Snoozed, interrupted or rescued"


class EventType(TextChoices):
    """What an event of a task tells; the values are the API's contract."""

    SUBMITTED = "submitted", "The task was submitted"
    ATTEMPT = "attempt", "An attempt ended"
    ACT = "act", "A person, a deploy or a repair did something to it"
    PROGRESS = "progress", "It made progress"
    STATUS = "status", "It has this status"
    REMOVED = "removed", "It was deleted or pruned"


class DeathReason(TextChoices):
    """Why a task died; the values are the API's contract."""

    MAX_RETRIES_EXCEEDED = "max_retries_exceeded", "Retries exhausted"
    NOT_RETRYABLE = "not_retryable", "Not retryable"
    AGE_LIMIT_EXCEEDED = "age_limit_exceeded", "Too old to start"
    TIME_LIMIT_EXCEEDED = "time_limit_exceeded", "Ran past its time limit"
    STUCK_TASK_TIMEOUT = "stuck_task_timeout", "Stuck past its time limit"
    CRASH_LOOP = "crash_loop", "Its workers keep crashing"
    GAVE_UP = "gave_up", "Given up"


class BatchStatus(TextChoices):
    """Where a batch is in its life; ``docs/state_machine.md`` has who moves it on."""

    OPEN = "OPEN", "Open"
    RUNNING = "RUNNING", "Running"
    SUCCEEDED = "SUCCEEDED", "Succeeded"
    FAILED = "FAILED", "Failed"
    CANCELLED = "CANCELLED", "Cancelled"


#: Batches that wait for no task, until one of theirs begins a second life.
ENDED = frozenset({BatchStatus.SUCCEEDED, BatchStatus.FAILED, BatchStatus.CANCELLED})


class StepKind(TextChoices):
    """What a row of a task's steps tells."""

    STEP = "STEP", "Step"
    SLEEP = "SLEEP", "Sleep"
    WAIT = "WAIT", "Wait"
    SIGNAL = "SIGNAL", "Signal"


class WorkerStatus(TextChoices):
    """Whether a worker process takes tasks."""

    ALIVE = "ALIVE", "Alive"
    DRAINING = "DRAINING", "Draining"
    GONE = "GONE", "Gone"


class Resolution(TextChoices):
    """What was done about a dead letter."""

    OPEN = "", "Open"
    REDRIVEN = "REDRIVEN", "Re-driven"
    DISCARDED = "DISCARDED", "Discarded"


class Scope(TextChoices):
    """What a token may do."""

    READ = "read", "Read"
    SUBMIT = "submit", "Submit"
    OPERATE = "operate", "Operate: change, cancel, retry, remove, re-drive, pause"


class Obstacle(TextChoices):
    """Why a waiting task does not run yet; the values are the API's contract."""

    PARENTS = "parents", "Tasks it depends on"
    NO_SCHEDULER = "no_scheduler", "No scheduler"
    QUEUE_PAUSED = "queue_paused", "Queue paused"
    ACTOR_NOT_SERVED = "actor_not_served", "Actor not served"
    QUEUE_NOT_SERVED = "queue_not_served", "Queue not served"
    NOT_DUE = "not_due", "Not due"
    SIGNAL_MISSING = "signal_missing", "Signal missing"
    TASKS_AHEAD = "tasks_ahead", "Tasks ahead"
    THREADS_BUSY = "threads_busy", "Threads busy"


#: Those that the rows tell, so that lists can be filtered by them; others depend on the workers of the moment.
LISTED_OBSTACLES = (Obstacle.PARENTS, Obstacle.SIGNAL_MISSING, Obstacle.QUEUE_PAUSED, Obstacle.NOT_DUE)


class Door(TextChoices):
    """The ways to act on Callboard."""

    ADMIN = "admin", "Admin"
    API = "api", "API"
    GRPC = "grpc", "gRPC"
    CLI = "cli", "Command line"
    CODE = "code", "Code"
    SCHEDULER = "scheduler", "Scheduler"
    WORKER = "worker", "Worker"


class ObjectKind(TextChoices):
    """What the journal records acts on."""

    TASK = "task", "Task"
    DEAD_LETTER = "dead_letter", "Dead letter"
    QUEUE = "queue", "Queue"
    WORKER = "worker", "Worker"
    TOKEN = "token", "API token"
    SCHEDULE = "schedule", "Schedule"
    BATCH = "batch", "Batch"
    FAILURE = "failure", "Failure"
    OPERATION = "operation", "Operation"
    BUILD = "build", "Build"


class OperationVerb(TextChoices):
    """What an operation does to each of its rows; the values are the API's contract."""

    RETRY = "retry", "Retry"
    CANCEL = "cancel", "Cancel"
    EDIT = "edit", "Edit"
    REQUEUE = "requeue", "Requeue"
    REDRIVE = "redrive", "Re-drive"
    DISCARD = "discard", "Discard"
    RESTORE = "restore", "Restore"


#: Verbs after which tasks run, so that they may die again.
RUNNING_AGAIN = frozenset({OperationVerb.RETRY, OperationVerb.REDRIVE})
#: Verbs on dead letters; all others are on tasks.
ON_DEAD_LETTERS = frozenset({OperationVerb.REDRIVE, OperationVerb.DISCARD, OperationVerb.RESTORE})


class OperationState(TextChoices):
    """Where an operation is in its life; ``docs/state_machine.md`` has who moves it on."""

    PREVIEW = "PREVIEW", "Preview"
    CANARY = "CANARY", "Canary"
    RUNNING = "RUNNING", "Running"
    PAUSED = "PAUSED", "Paused"
    STOPPED = "STOPPED", "Stopped"
    DONE = "DONE", "Done"
    CANCELLED = "CANCELLED", "Cancelled"


#: Operations that change nothing any more.
OPERATION_OVER = frozenset({OperationState.DONE, OperationState.CANCELLED})
#: Operations that the leader works on.
OPERATION_ACTIVE = frozenset({OperationState.CANARY, OperationState.RUNNING})


class ItemState(TextChoices):
    """What an operation did to one of its rows, and what became of it."""

    WAITING = "", "Waiting"
    MOVED = "MOVED", "Moved"
    SKIPPED = "SKIPPED", "Skipped"
    SUCCEEDED = "SUCCEEDED", "Succeeded"
    DIED = "DIED", "Died again"
    ENDED = "ENDED", "Ended"


class Overlap(TextChoices):
    """What a schedule does at a fire while the task of the fire before has not ended."""

    SKIP = "skip", "Skip the fire"
    ALLOW = "allow", "Run both"
    BUFFER_ONE = "buffer_one", "Keep one fire until the task has ended"
    CANCEL_RUNNING = "cancel_running", "Cancel the task and run the new one"


class CatchUp(TextChoices):
    """What a schedule does about fires that came while no scheduler ran."""

    NONE = "none", "Leave them out"
    LAST = "last", "Run the newest"
    ALL = "all", "Run all of them"
