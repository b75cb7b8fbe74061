"""The end of a process, at which it sends or writes the last of what it kept in memory."""

import atexit
import multiprocessing
from collections.abc import Callable
from multiprocessing.util import Finalize


def call_at_end(function: Callable[[], object]) -> None:
    """Call a function when this process ends in order."""
    if multiprocessing.parent_process() is None:
        # Once, although a fork inherits its parent's.
        atexit.unregister(function)
        atexit.register(function)
    else:
        # Children of multiprocessing end by os._exit() and have finalizers of their own.
        Finalize(None, function, exitpriority=0)
