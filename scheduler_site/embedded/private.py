"""Files that only their owner may read: credentials, keys, what a running stack is made of."""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scheduler_site.embedded.errors import LaunchError
from scheduler_site.embedded.processes import wait_for

#: Somebody who only looks holds a lock for a moment, too.
_LOCK_SECONDS = 0.5


def make_folder(folder: Path) -> None:
    """Make a folder that only we can enter, or close one that was made open."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchError(f"cannot make {folder}: {error.strerror}; it holds data and credentials") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LaunchError(f"cannot write to {folder}; it belongs to another account, see `ls -ld {folder}`")
    if folder.stat().st_mode & 0o077:
        # Whoever makes a folder inside it first makes it as open as the umask allows.
        _close(folder)


def _close(folder: Path) -> None:
    try:
        folder.chmod(0o700)
    except OSError as error:
        raise LaunchError(f"cannot close {folder} to other accounts: {error.strerror}; it holds credentials") from error


def write_pairs(path: Path, pairs: Mapping[str, str], *, comment: str) -> None:
    """Write ``NAME=value`` lines, all or nothing."""
    lines = [f"# {comment}", *(f"{name}={value}" for name, value in pairs.items())]
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text("\n".join(lines) + "\n")
    unfinished.replace(path)


def read_pairs(path: Path) -> dict[str, str]:
    """Read what ``write_pairs`` wrote; nothing when there is no such file."""
    if not path.exists():
        return {}
    lines = (line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


def kept_secret(path: Path) -> str:
    """Read a random key, made on first use."""
    if not read_pairs(path).get("SECRET_KEY"):
        write_pairs(
            path, {"SECRET_KEY": secrets.token_urlsafe(50)}, comment="Signs sessions; delete it to end them all."
        )
    return read_pairs(path)["SECRET_KEY"]


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends.

    Raises:
        LaunchError: another process holds it; names its id.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        if not take_lock(file.fileno()):
            raise LaunchError(f"already running, pid {file.read().strip() or 'unknown'}; stop that one first")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def take_lock(descriptor: int) -> bool:
    """Lock an open file for ourselves, as long as it or a copy of it is open; tell whether nobody else has it."""
    return wait_for(lambda: _locks(descriptor, fcntl.LOCK_EX), seconds=_LOCK_SECONDS)


def is_running(path: Path) -> bool:
    """Tell whether somebody holds the lock of ``only_one``, whose process id may be anybody's by now."""
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
