"""The log writer: one thread that calls the handlers, so that no other thread ever waits for one.

A handler takes a lock, and writes to something that may be full or slow. An interrupt that hits an actor while it logs
can leave that lock locked for good. Every thread that logs from then on would wait for it: the completer, the
heartbeat, and the watchdog that should end such a process. A pipe that nobody reads has the same effect. So processes
that run actors or supervise others log by putting a record into a queue, which is written in C and never blocks. Lines
beyond ``MOST_WAITING`` are dropped and counted.
"""

import atexit
import contextvars
import logging
import os
import threading
from queue import SimpleQueue
from typing import Any, NoReturn

#: Records that may wait for a handler that is stuck.
MOST_WAITING = 10_000
#: How long a process that ends waits for its last lines.
FLUSH_SECONDS = 1.0


class _Writer:
    """The queue and its thread.

    Only ``SimpleQueue.put`` and plain reads happen in threads that log.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the writer."""
        return threading.get_ident() == self._thread.ident

    def put(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Put a record into the queue, with the context in which it was made."""
        if self._queue.qsize() >= MOST_WAITING:
            self._dropped += 1
            return
        self._queue.put((contextvars.copy_context(), logger, record))

    def flush(self, timeout: float) -> bool:
        """Wait until the records in the queue are written; False if that took longer."""
        written = threading.Event()
        self._queue.put(written)
        return written.wait(timeout)

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            context, logger, record = item
            context.run(_deliver, logger, record)
            if self._dropped:
                count, self._dropped = self._dropped, 0
                logging.getLogger(__name__).warning("%d log lines were dropped; a log handler was stuck", count)


_writer: _Writer | None = None
_call_handlers = logging.Logger.callHandlers


def start() -> None:
    """Let a thread write everything that this process logs from now on."""
    global _writer
    if _writer is not None:
        return
    _writer = _Writer()
    _writer.start()
    # The writer also calls handlers that are added later.
    logging.Logger.callHandlers = _defer  # type: ignore[method-assign,assignment]
    atexit.register(flush)


def stop() -> None:
    """Write the records that wait, and let threads call the handlers themselves again; for tests."""
    global _writer
    flush()
    _writer = None
    logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign]


def write(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Log a record; in the background its level is checked there too.

    The standard library checks it under a lock of its own, which an interrupt can leave locked too.
    """
    if _writer is not None:
        _writer.put(logger, record)
    elif logger.isEnabledFor(record.levelno):
        logger.handle(record)


def flush(timeout: float = FLUSH_SECONDS) -> bool:
    """Wait a moment for the records to be written; False if that was not long enough."""
    return _writer is None or _writer.flush(timeout)


def end_process(code: int) -> NoReturn:
    """End the process even if its log is stuck: Python would wait for a standard error that nobody reads."""
    if not flush():
        os._exit(code)
    raise SystemExit(code)


def _defer(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Replace ``Logger.callHandlers``."""
    if _writer is None or _writer.is_current:
        _call_handlers(logger, record)
    else:
        _render(record)
        _writer.put(logger, record)


def _deliver(logger: logging.Logger, record: logging.LogRecord) -> None:
    # An error of a handler must not end the thread that writes for all others.
    try:
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except BaseException as error:  # noqa: BLE001
        os.write(2, f"a log handler raised {type(error).__name__}\n".encode())


def _render(record: logging.LogRecord) -> None:
    """Put the arguments into the text now, because they are the caller's objects and may change."""
    if not record.args:
        return
    try:
        record.msg = record.getMessage()
    except Exception as error:  # noqa: BLE001 - it is the user's code
        record.msg = f"{record.msg} (its arguments could not be written: {type(error).__name__})"
    record.args = None


def _after_fork() -> None:
    # The child does not have the thread; the standard library gave its handlers new locks.
    global _writer
    _writer = None


os.register_at_fork(after_in_child=_after_fork)
