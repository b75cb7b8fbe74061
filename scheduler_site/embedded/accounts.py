"""The account that the private servers run as, and folders that this account can use."""

import hashlib
import os
import pwd
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from scheduler_site.embedded.errors import LaunchError

#: In order of preference; both exist to run programs with few rights, so none is ever created.
_UNPRIVILEGED = ("postgres", "nobody")


class AccountOptions(TypedDict, total=False):
    """The options of ``subprocess`` for an account; empty for the current one."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """An account other than the current one."""

    name: str
    uid: int
    gid: int

    def as_options(self) -> AccountOptions:
        """Return the options of ``subprocess`` that start a process under this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def account_for(folder: Path) -> Account | None:
    """Choose the account for servers whose data is in ``folder``; None means the current one.

    PostgreSQL refuses to run as root. An existing folder stays with its owner, even if a preferred account exists now.
    """
    if os.geteuid() != 0:
        return None
    owner = folder.stat().st_uid if folder.exists() else 0
    if not owner:
        return _unprivileged()
    try:
        return _account(pwd.getpwuid(owner))
    except KeyError:
        raise LaunchError(f"{folder} belongs to user id {owner}, which has no account; chown it to postgres") from None


def servers_folder(project: Path, *, var: Path) -> Path:
    """Make the folder for a project's servers: in its own ``var``, or, as root, where another account can enter.

    Root's project may be in a folder that no other account can enter, and opening up such a folder is not acceptable.
    """
    if os.geteuid() != 0:
        return _private(var / "servers", account=None)
    name = f"callboard-{hashlib.sha256(str(project).encode()).hexdigest()[:12]}"
    folder = Path("/var/lib") / name
    return _private(folder, account=account_for(folder))


def temporary_folder() -> Path:
    """Make a private folder for servers of a test run; the caller removes it."""
    # /tmp and not TMPDIR for root: TMPDIR may be inside a folder that only root can enter.
    folder = Path(tempfile.mkdtemp(prefix="callboard-", dir="/tmp" if os.geteuid() == 0 else None))  # noqa: S108
    return _private(folder, account=account_for(folder))


def give(path: Path, account: Account | None) -> None:
    """Give a file or folder to the servers' account."""
    if account:
        os.chown(path, account.uid, account.gid)


def _private(folder: Path, *, account: Account | None) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        give(folder, account)
    except OSError as error:
        raise LaunchError(f"cannot make {folder} for the private servers: {error.strerror}") from error
    return folder


def _unprivileged() -> Account:
    for name in _UNPRIVILEGED:
        try:
            return _account(pwd.getpwnam(name))
        except KeyError:
            continue
    raise LaunchError(
        f"as root, the private servers need an account with few rights, but neither "
        f"{' nor '.join(_UNPRIVILEGED)} exists; run as an ordinary user, or set DATABASE_URL and BROKER_URL"
    )


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
