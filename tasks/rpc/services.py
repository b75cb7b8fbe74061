"""The services and their methods."""

from collections.abc import Mapping

from tasks.rpc import (
    actors,
    batches,
    dead_letters,
    failures,
    journal,
    operations,
    queues,
    schedules,
    stats,
    tasks,
    workers,
)
from tasks.rpc.calls import Method

PACKAGE = "callboard.v1"

_METHODS: Mapping[str, Mapping[str, Method]] = {
    "TaskService": tasks.METHODS,
    "BatchService": batches.METHODS,
    "ScheduleService": schedules.METHODS,
    "DeadLetterService": dead_letters.METHODS,
    "FailureService": failures.METHODS,
    "OperationService": operations.METHODS,
    "ActorService": actors.METHODS,
    "QueueService": queues.METHODS,
    "WorkerService": workers.METHODS,
    "StatsService": stats.METHODS,
    "JournalService": journal.METHODS,
}

#: The full names of all services.
SERVICES = tuple(f"{PACKAGE}.{name}" for name in _METHODS)

#: Every method by its path, as gRPC calls it.
METHODS: Mapping[str, Method] = {
    f"/{PACKAGE}.{service}/{name}": method for service, methods in _METHODS.items() for name, method in methods.items()
}
