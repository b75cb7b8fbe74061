"""Starts processes that never outlive this one, and ends them."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from scheduler_site.embedded.accounts import Account
from scheduler_site.embedded.errors import LaunchError

_PR_SET_PDEATHSIG = 1
#: Looked up before any fork: nothing may be imported or loaded between fork and exec.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_POLL_SECONDS = 0.02

#: The environment of servers: no variables of this process that could change their locale, time zone or libraries.
CLEAN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def spawn(
    command: Sequence[str | Path],
    *,
    output: IO[bytes] | None = None,
    text: bytes = b"",
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
    cwd: Path | str = "/",
    die_with: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a process in its own session, so that a Ctrl-C at the terminal does not reach it.

    On Linux the kernel sends it ``die_with`` when the *thread* that called this ends, by kill -9 or otherwise: call it
    from a thread that lives as long as the process should. Elsewhere it outlives a parent that is killed with -9.

    Parameters:
        text: its standard input; empty by default.
        output: takes its standard output and error; by default they go where this process's go.
        account: the account that it runs as; the current one by default.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE if text else subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        env=env,
        cwd=cwd,
        start_new_session=True,
        # Runs after the change of account, which would clear the request again.
        preexec_fn=_dying_with(os.getpid(), die_with),  # noqa: PLW1509
        **(account.as_options() if account else {}),
    )
    if process.stdin:
        # A process that died at once has printed the reason.
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(text)
    return process


def end(process: subprocess.Popen[bytes], *steps: tuple[signal.Signals, float]) -> None:
    """Send each signal in turn and wait for its seconds; kill the process if it still runs after the last."""
    for number, seconds in steps:
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
    process.kill()
    process.wait()


def kill_session(leader: int) -> None:
    """Kill every process of the session that ``spawn`` began, those in other process groups too."""
    members = _session_members(leader)
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_leftover(pid: int, *, folder: Path, number: signal.Signals) -> None:
    """End a server of a crashed run that still works in ``folder``; leave any other process with that id alone."""
    if not _works_in(pid, folder):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    if not wait_for(lambda: not _works_in(pid, folder), seconds=20):
        raise LaunchError(f"process {pid} of an earlier run still uses {folder} and does not stop; end it: kill {pid}")


def free_port() -> int:
    """Find a port on the loopback interface that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Poll a condition until it holds; False if it did not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _session_members(leader: int) -> list[int]:
    if not Path("/proc/self/stat").exists():
        return [-leader]  # without /proc only its own process group can be addressed
    members = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            # "pid (name) state ppid pgrp session …"; the name may contain anything, even parentheses.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                members.append(int(entry.name))
    return members


def _dying_with(parent: int, number: signal.Signals) -> Callable[[], None] | None:
    if _prctl is None:
        return None
    prctl = _prctl

    def ask_the_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        # The parent may have died between fork and the line above; then no signal will ever come.
        if os.getppid() != parent:
            os._exit(1)

    return ask_the_kernel


def _works_in(pid: int, folder: Path) -> bool:
    """Tell whether a process is the server of a folder: servers change into theirs, and recycled ids do not count."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder.resolve()
    except OSError:
        return False
