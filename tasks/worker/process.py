"""A worker process: Dramatiq's ``Worker`` between a start and an orderly end.

Started by the supervisor (``python -m tasks.worker.process``), never by fork: a child must have a broker identity
of its own.
"""

import argparse
import gc
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING
from uuid import UUID

import dramatiq

from tasks import log_writer

if TYPE_CHECKING:
    from tasks.worker.middleware import WorkerProcess

EXIT_OK = 0


def main(arguments: list[str]) -> int:
    """Run one worker process until it is asked to stop; the exit code says whether all outcomes were written."""
    options = _parse(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_site.settings")
    import django

    django.setup()
    log_writer.start()

    from tasks.worker.flight_recorder import FlightRecorder

    recorder = FlightRecorder(options.recorder, threads=options.threads)
    _process().configure(worker_id=options.worker_id, recorder=recorder)
    stop = threading.Event()
    handle_signals(stop)
    signal.signal(signal.SIGHUP, lambda *_: _process().retire())
    threading.Thread(target=_stop_with_parent, args=(options.parent, stop), name="parent", daemon=True).start()
    return run(queues=set(options.queues) or None, threads=options.threads, stop=stop)


def handle_signals(stop: threading.Event) -> None:
    """Set ``stop`` at SIGTERM and Ctrl-C in this process, but not in processes that an actor forks."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    os.register_at_fork(after_in_child=_forget_signals)


def _forget_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def run(*, queues: set[str] | None, threads: int, stop: threading.Event) -> int:
    """Work until ``stop`` is set, then end in order.

    Parameters:
        queues: queues of tasks, not of the broker; None means all that actors declare.
    """
    from dramatiq import Worker

    from tasks.conf import conf
    from tasks.worker.flight_recorder import Ending
    from tasks.worker.grace_period import CLEAN_UP_SECONDS
    from tasks.worker.watchdog import EXIT_RETIRED, EXIT_UNFINISHED

    broker = dramatiq.get_broker()
    # Where Dramatiq's own command does it: some middleware, such as Prometheus, sets itself up here.
    broker.emit_after("process_boot")
    _keep_out_of_collections()
    # An idle thread checks every half second whether it has to end; more often would dominate an idle stack's cost.
    worker = Worker(broker, queues=queues, worker_threads=threads, worker_timeout=500)
    worker.start()
    stop.wait()
    worker.stop(timeout=int((conf.SHUTDOWN_GRACE_SECONDS + CLEAN_UP_SECONDS) * 1000))
    runtime = _process().runtime
    if runtime is None:
        return EXIT_UNFINISHED
    if not runtime.is_finished or runtime.drain.has_ended_itself:
        code, ending = EXIT_UNFINISHED, Ending.UNFINISHED
    elif runtime.drain.is_retiring:
        code, ending = EXIT_RETIRED, Ending.RETIRED
    else:
        code, ending = EXIT_OK, Ending.IN_ORDER
    runtime.say_ending(ending)
    return code


def _keep_out_of_collections() -> None:
    """Let the garbage collector leave alone what the process has loaded; it would look through that again and again."""
    gc.collect()
    gc.freeze()


def _process() -> "WorkerProcess":
    from tasks.worker.middleware import WorkerProcess

    return next(one for one in dramatiq.get_broker().middleware if isinstance(one, WorkerProcess))


def _stop_with_parent(descriptor: int, stop: threading.Event) -> None:
    """Stop when the supervisor ends, however it ends: its side of the pipe closes."""
    os.read(descriptor, 1)
    stop.set()


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tasks.worker.process")
    parser.add_argument("--worker-id", type=UUID, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--queues", nargs="*", default=[])
    parser.add_argument("--recorder", type=int, required=True, help="descriptor of the flight recorder")
    parser.add_argument("--parent", type=int, required=True, help="descriptor of a pipe that the supervisor holds open")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    from tasks.broker.notifier import notifier

    notifier.flush()
    log_writer.flush()
    sys.stdout.flush()
    # Threads that ignore their interrupt, or a blocked event loop, must not keep a finished process alive.
    os._exit(code)
