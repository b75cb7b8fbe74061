"""The dispatcher alone, on a broker that drops hints: ``python -m benchmarks.dispatching QUEUES WORKERS``.

All tasks are in one of the queues. Each line on the input is a number of tasks to dispatch after a wake-up; the answer
is a line with the microseconds per task, of the dispatcher and the database together.
"""

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from tasks.db import sessions  # noqa: E402
from tasks.hint import Hint  # noqa: E402
from tasks.lifecycle import workers  # noqa: E402
from tasks.models import Queue, new_id  # noqa: E402
from tasks.scheduler import window  # noqa: E402
from tasks.scheduler.dispatcher import Dispatcher  # noqa: E402
from tasks.scheduler.leadership import Leadership  # noqa: E402

#: Small, so that the fixed costs of a round show.
BATCH = 100


class InfinitelyFast:
    """A broker whose workers are infinitely fast."""

    def __init__(self) -> None:
        self.count = 0

    def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Return an empty depth."""
        return dict.fromkeys(queues, 0)

    def publish_many(self, hints: Sequence[tuple[str, Hint]]) -> None:
        """Count the hints."""
        self.count += len(hints)


def main(queues: int, worker_count: int) -> None:
    """Lead, and dispatch as many tasks as each line asks for."""
    window.LARGEST_WINDOW = BATCH
    leadership, source = Leadership(), InfinitelyFast()
    leadership.step()
    workers.declare_queues()
    names = ["default", *(f"queue-{number}" for number in range(1, queues))]
    Queue.objects.bulk_create([Queue(name=name) for name in names], ignore_conflicts=True)
    ids = [new_id() for _ in range(worker_count)]
    for worker in ids:
        workers.register(worker, queues=names, threads=BATCH)
    sessions.use_direct_session(commits_asynchronously=True)
    dispatcher = Dispatcher(leadership, _any(source))
    print("ready", flush=True)
    for line in sys.stdin:
        goal = source.count + int(line)
        # All leases may have run out since the last time.
        leadership.step()
        for worker in ids:
            workers.beat(worker)
        dispatcher.wake(from_front=False)
        began = time.perf_counter()
        while source.count < goal:
            dispatcher.step()
        print((time.perf_counter() - began) / int(line) * 1e6, flush=True)


def _any(source: Any) -> Any:
    return source


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
