"""``callboard workers start | status | stop``: pools of workers in the background on this machine."""

import os
import subprocess
import sys
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone

from scheduler_site.embedded.errors import LaunchError
from scheduler_site.pools import Pool
from tasks.conf import conf
from tasks.contract.values import timestamp
from tasks.management import serving
from tasks.management.callboard import parsing
from tasks.management.callboard.exit_codes import TIMED_OUT, USAGE
from tasks.management.callboard.output import WIDE, Column, Output, clean
from tasks.models import Worker
from tasks.worker.supervisor import LAST_SECONDS

_COLUMNS = (
    Column("NAME", "name", wraps=True),
    Column("STATUS", "status"),
    Column("PID", "pid", is_number=True),
    Column("WORKERS", "present", is_number=True),
    Column("OF", "processes", is_number=True),
    Column("THREADS", "threads", is_number=True),
    Column("QUEUES", "queues", wraps=True, from_width=WIDE),
    Column("STARTED", "started_at"),
    Column("LOG", "log", wraps=True, from_width=WIDE),
)
#: In addition to WAIT_SECONDS, for which the supervisor waits for the database.
_START_SECONDS = 30
_TICK_SECONDS = 0.1


def register(nouns: parsing.Commands) -> None:
    """Add the commands to those of ``workers``."""
    starting = parsing.add_command(
        nouns, "start", start, help="start a pool of N worker processes in the background on this machine",
        examples=[
            "workers start 4",
            "workers start 2 --name mail -Q mail -t 16",
            "workers start 1 --name urgent --bands high",
        ],
    )  # fmt: skip
    starting.add_argument("processes", type=int, metavar="N", help="the number of processes")
    _add_name(starting, default="default")
    starting.add_argument(
        "-t",
        "--threads",
        type=int,
        default=conf.WORKER_THREADS,
        help="tasks that each process runs at the same time (default: WORKER_THREADS, 8)",
    )
    serving.add_arguments(starting)
    showing = parsing.add_command(
        nouns, "status", status, help="show the pools on this machine; exit with 1 if the named one is not running",
        examples=["workers status", "workers status --name mail --json"],
    )  # fmt: skip
    _add_name(showing)
    stopping = parsing.add_command(
        nouns, "stop", stop, help="stop a pool; running tasks may finish within SHUTDOWN_GRACE_SECONDS",
        examples=["workers stop", "workers stop --name mail", "workers stop --all --now"],
    )  # fmt: skip
    chosen = stopping.add_mutually_exclusive_group()
    chosen.add_argument("--name", type=_name, default="default", help="the name of the pool (default: default)")
    chosen.add_argument("--all", action="store_true", dest="is_all", help="stop every pool on this machine")
    stopping.add_argument(
        "--now", action="store_true", dest="is_forced", help="kill the workers at once; their tasks run again"
    )


def start(options: Namespace, out: Output) -> None:
    """Start a pool and wait until all its workers are present."""
    if options.processes < 1 or options.threads < 1:
        raise CommandError(
            f"expected at least 1 process and 1 thread, got {options.processes} and {options.threads}", returncode=USAGE
        )
    served = serving.served(options.queues, options.bands)
    facts = {
        "processes": options.processes,
        "threads": options.threads,
        "queues": served,
        "started_at": timestamp(timezone.now()),
    }
    command = [
        sys.executable, str(conf.BASE_DIR / "manage.py"), "runworkers", "--processes", str(options.processes),
        "--threads", str(options.threads), *(["--queues", *served] if served else []),
    ]  # fmt: skip
    with _as_command_errors():
        pool = Pool.named(options.name, folder=_folder())
        _await_workers(pool, pool.start(command, cwd=conf.BASE_DIR, parameters=facts))
    out.record(_as_dict(pool))


def status(options: Namespace, out: Output) -> None:
    """Show the pools on this machine."""
    with _as_command_errors():
        pools = [Pool.named(options.name, folder=_folder())] if options.name else Pool.all(folder=_folder())
    rows = [_as_dict(pool) for pool in pools if pool.parameters]
    if options.name and not rows:
        raise CommandError(_no_such(options.name))
    out.rows(rows, _COLUMNS)
    if options.name and rows[0]["pid"] is None:
        raise SystemExit(1)


def stop(options: Namespace, out: Output) -> None:
    """Stop pools."""
    with _as_command_errors():
        pools = Pool.all(folder=_folder()) if options.is_all else [Pool.named(options.name, folder=_folder())]
        if not options.is_all and not pools[0].parameters and pools[0].pid is None:
            raise CommandError(_no_such(options.name))
        for pool in pools:
            out.remark(f"Stopping {pool.name}; running tasks may finish first.")
            pool.stop(seconds=conf.SHUTDOWN_GRACE_SECONDS + LAST_SECONDS + 5, is_forced=options.is_forced)
    rows = [{"name": pool.name, "status": "STOPPED"} for pool in pools]
    out.rows(rows, _COLUMNS[:2])


def _add_name(parser: CommandParser, *, default: str | None = None) -> None:
    text = f"the name of the pool (default: {default})" if default else "show only this pool"
    parser.add_argument("--name", type=_name, default=default, help=text)


def _name(text: str) -> str:
    """Check the name of a pool; argparse expects this error."""
    try:
        return Pool.named(text, folder=_folder()).name
    except LaunchError as error:
        raise ArgumentTypeError(str(error).removeprefix("--name: ")) from error


def _folder() -> Any:
    return conf.VAR_DIR / "pools"


def _await_workers(pool: Pool, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + conf.WAIT_SECONDS + _START_SECONDS
    while (_present(process.pid) or 0) < pool.parameters["processes"]:
        if process.poll() is not None:
            pool.stop(seconds=0, is_forced=False)
            raise LaunchError(f"pool {pool.name} has ended: {clean(pool.last_line())} (log: {pool.log})")
        if time.monotonic() > deadline:
            raise CommandError(
                f"pool {pool.name} has not started all its workers yet: {clean(pool.last_line())} ({pool.log})",
                returncode=TIMED_OUT,
            )
        time.sleep(_TICK_SECONDS)


def _as_dict(pool: Pool) -> dict[str, Any]:
    facts, pid = pool.parameters, pool.pid
    present = _present(pid) if pid else 0
    is_whole = present is None or present >= facts["processes"]
    return {
        "name": pool.name,
        "status": "ENDED" if pid is None else "RUNNING" if is_whole else "STARTING",
        "pid": pid,
        "present": present,
        **facts,
        "log": str(pool.log),
    }


def _present(supervisor: int) -> int | None:
    """Count the present workers of a supervisor; None if the database does not answer."""
    try:
        pids = list(Worker.objects.present().filter(host=conf.WORKER_NAME).values_list("pid", flat=True))
    except DatabaseError:
        return None
    return sum(_session(pid) == supervisor for pid in pids)


def _session(pid: int) -> int | None:
    # The supervisor of a pool leads its own session, and its processes belong to it.
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _no_such(name: str) -> str:
    known = ", ".join(pool.name for pool in Pool.all(folder=_folder())) or "none"
    return f"there is no pool {name!r} on this machine; there are: {known}"


@contextmanager
def _as_command_errors() -> Iterator[None]:
    try:
        yield
    except LaunchError as error:
        raise CommandError(str(error)) from error
