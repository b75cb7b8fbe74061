"""A health check from outside a process: ``python -m tasks.healthcheck workers`` exits with 0 if it is well, else 1.

Every process of Callboard answers on a unix socket in ``HEALTH_DIR``; ``tasks.telemetry.health`` is that side.
Containers are checked every few seconds, so this module loads neither Django nor any package while ``HEALTH_DIR`` is
set.
"""

import contextlib
import json
import os
import socket
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PROCESSES = ("api", "grpc", "scheduler", "workers")
#: How long a process may take to answer. A stopped one never does.
ANSWER_SECONDS = 4.0
LIVE, STARTED, READY = "/healthz", "/startupz", "/readyz"

_SUFFIX = ".sock"
_LONGEST_ANSWER = 65_536
_LONGEST_SOCKET_NAME = 100


class Answer(NamedTuple):
    """What one process says of itself."""

    is_well: bool
    sentence: str
    facts: dict[str, Any]


def socket_of(folder: Path, process: str, pid: int) -> Path:
    """Name the socket of a process."""
    return folder / f"{process}.{pid}{_SUFFIX}"


@contextlib.contextmanager
def short_name(path: Path) -> Iterator[str]:
    """Give a name of a socket that is short enough for the kernel, which takes 107 bytes."""
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_NAME:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def check(folder: Path, process: str | None, page: str, *, seconds: float = ANSWER_SECONDS) -> list[Answer]:
    """Ask the processes that run here.

    Parameters:
        folder: ``HEALTH_DIR``.
        process: one of ``PROCESSES``; None asks all that run.
        page: ``LIVE``, ``STARTED`` or ``READY``.
    """
    found = sorted(folder.glob(f"{process or '*'}.*{_SUFFIX}"))
    answers = [answer for path in found if (answer := _ask(path, page, seconds)) is not None]
    if answers:
        return answers
    sentence = f"{process or 'no process'} is not running: nothing answers in {folder}"
    return [Answer(False, sentence, {"process": process, "status": "not running"})]


def count(folder: Path, process: str, *, seconds: float = ANSWER_SECONDS) -> int:
    """Count the processes of a kind that run here; one that gives no answer runs too."""
    return sum(_ask(path, LIVE, seconds) is not None for path in folder.glob(f"{process}.*{_SUFFIX}"))


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "process", nargs="?", choices=PROCESSES, metavar="PROCESS",
        help=f"{', '.join(PROCESSES)} (default: all that run on this machine)",
    )  # fmt: skip
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--ready", action="store_const", const=READY, dest="page",
        help="whether it can work: database, migrations, broker, leader too (default: whether its loops turn)",
    )  # fmt: skip
    group.add_argument(
        "--started", action="store_const", const=STARTED, dest="page", help="whether it has started completely"
    )
    parser.add_argument(
        "--seconds", type=float, default=ANSWER_SECONDS, metavar="N", help="the longest wait (default: %(default)g)"
    )


def run(options: Namespace, folder: Path) -> list[Answer]:
    """Check as the options of a command line say."""
    return check(folder, options.process, options.page or LIVE, seconds=options.seconds)


def main(arguments: Sequence[str]) -> int:
    """Print one sentence for each process, and give the exit code."""
    parser = ArgumentParser(prog="python -m tasks.healthcheck")
    add_arguments(parser)
    answers = run(parser.parse_args(arguments), _folder())
    for answer in answers:
        sys.stdout.write(f"{answer.sentence}\n")
    return 0 if all(answer.is_well for answer in answers) else 1


def _folder() -> Path:
    if given := os.environ.get("HEALTH_DIR", "").strip():
        return Path(given)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_site.settings")
    from tasks.conf import conf

    return conf.HEALTH_DIR


def _ask(path: Path, page: str, seconds: float) -> Answer | None:
    """Ask one process; None if it has ended and left its socket."""
    process, pid, _ = path.name.split(".")
    name = f"{process} (pid {pid})"
    try:
        facts = _get(path, page, seconds)
    except (ConnectionRefusedError, FileNotFoundError):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    except (OSError, ValueError) as error:
        reason = "gives no answer" if isinstance(error, TimeoutError) else f"cannot be asked: {error}"
        return Answer(False, f"{name} {reason}", {"process": process, "pid": int(pid), "status": "silent"})
    is_well = facts["status"] == "ok"
    return Answer(is_well, f"{name} is well" if is_well else f"{name}: {_why(facts)}", facts)


def _why(facts: dict[str, Any]) -> str:
    missing = [f"{name} is {state}" for name, state in facts.get("components", {}).items() if state != "ok"]
    return "; ".join([*facts["faults"], *missing]) or f"it is {facts['status']}"


def _get(path: Path, page: str, seconds: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection, short_name(path) as name:
        connection.settimeout(seconds)
        connection.connect(name)
        connection.sendall(f"GET {page} HTTP/1.0\r\n\r\n".encode())
        parts: list[bytes] = []
        while part := connection.recv(_LONGEST_ANSWER):
            parts.append(part)
    facts: dict[str, Any] = json.loads(b"".join(parts).partition(b"\r\n\r\n")[2])
    return facts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
