"""Standard output and error of a command whose reader has gone (``| head -1``) or whose disk is full."""

import errno
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def guarded() -> Iterator[None]:
    """End the block, and the command with it, when its output cannot be written.

    Raises:
        SystemExit: with the block's own exit code, or 0, if the reader has gone; with 1 if the disk is full.
    """
    try:
        try:
            yield
        finally:
            # Now, because the interpreter would print a traceback if it failed when it ends.
            for stream in _streams():
                stream.flush()
    except OSError as error:
        # A connection to a server may break in the same way.
        is_unread = error.errno == errno.EPIPE and any(_has_no_reader(stream) for stream in _streams())
        if not is_unread and error.errno not in _DISK_IS_FULL:
            raise
        ended = error.__context__
        code = ended.code if isinstance(ended, SystemExit) else None
        if is_unread:
            _discard()
            raise SystemExit(code) from None
        with suppress(OSError):
            sys.stderr.write(f"cannot write: {error.strerror}{f' ({error.filename})' if error.filename else ''}\n")
            sys.stderr.flush()
        _discard()
        raise SystemExit(code or 1) from None


def _streams() -> list[TextIO]:
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None]


def _has_no_reader(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _discard() -> None:
    """Send what is still buffered to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in _streams():
        with suppress(OSError):
            stream.flush()
            continue
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
