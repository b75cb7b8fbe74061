"""Files that only their owner may read: credentials, keys, and the state of a running stack."""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scheduler_site.embedded.errors import LaunchError
from scheduler_site.embedded.processes import wait_for

#: A process that only checks a lock holds it for a moment too.
_LOCK_SECONDS = 0.5


def make_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter, or close an existing one to others."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchError(f"cannot make {folder}: {error.strerror}; it holds data and credentials") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LaunchError(f"cannot write to {folder}; it belongs to another account, see `ls -ld {folder}`")
    if folder.stat().st_mode & 0o077:
        # If a folder inside it was made first, it came into being as open as the umask allows.
        _close(folder)


def _close(folder: Path) -> None:
    try:
        folder.chmod(0o700)
    except OSError as error:
        raise LaunchError(f"cannot close {folder} to other accounts: {error.strerror}; it holds credentials") from error


def write_pairs(path: Path, pairs: Mapping[str, str], *, comment: str) -> None:
    """Write ``NAME=value`` lines, all of them or none."""
    lines = [f"# {comment}", *(f"{name}={value}" for name, value in pairs.items())]
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text("\n".join(lines) + "\n")
    unfinished.replace(path)


def read_pairs(path: Path) -> dict[str, str]:
    """Read the pairs that ``write_pairs`` wrote; none if there is no such file."""
    if not path.exists():
        return {}
    lines = (line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


def kept_secret(path: Path) -> str:
    """Read a random key; the first call makes it."""
    if not read_pairs(path).get("SECRET_KEY"):
        write_pairs(
            path, {"SECRET_KEY": secrets.token_urlsafe(50)}, comment="Signs sessions; delete it to end them all."
        )
    return read_pairs(path)["SECRET_KEY"]


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends.

    Raises:
        LaunchError: another process holds it; the message names its id.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        if not take_lock(file.fileno()):
            raise LaunchError(f"already running, pid {file.read().strip() or 'unknown'}; stop that process first")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def take_lock(descriptor: int) -> bool:
    """Lock an open file for as long as it, or a copy of the descriptor, is open; False if another process holds it."""
    return wait_for(lambda: _locks(descriptor, fcntl.LOCK_EX), seconds=_LOCK_SECONDS)


def is_running(path: Path) -> bool:
    """Tell whether a process holds the lock of ``only_one``; the id in the file may be a recycled one."""
    try:
        with path.open() as file:
            return not _locks(file.fileno(), fcntl.LOCK_SH)
    except OSError:
        return False


def _locks(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
