"""The only module that reads the environment: each setting by its name, by other stacks' names, or by a former one."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from environ import Env

from tasks.setting import Setting, declared

T = TypeVar("T")

#: The name of every setting read so far; a test compares ``.env.example`` with it.
SETTINGS: set[str] = set()

#: The name of a setting, and the name that other stacks give it, which is read if the first is not set.
ALSO_CALLED = {
    "DEFAULT_TIME_LIMIT_SECONDS": "DEFAULT_TIMEOUT_SECONDS",
    "HEARTBEAT_INTERVAL_SECONDS": "HEARTBEAT_INTERVAL",
    "KEEP_SUCCEEDED_SECONDS": "JOB_TTL_SECONDS",
    "STUCK_AFTER_SECONDS": "STUCK_AFTER_SEC",
    "WORKER_NAME": "WORKER_ID",
    "WORKER_PROCESSES": "WORKER_POOL_SIZE",
    "WORKER_THREADS": "WORKER_CONCURRENCY",
}
#: The name of a setting, and its name in releases before 0.2.
FORMER_NAMES = {"KEEP_JOURNAL_SECONDS": "KEEP_EVENTS_SECONDS"}
#: Settings of other stacks that Callboard does not have, each with what to do instead. They are refused rather than
#: ignored, because a set variable is relied on.
NOT_A_SETTING = {
    "CORS_ALLOW_CREDENTIALS": "web pages of other origins send a token, and never a cookie",
}


#: What was wrong since ``begin()``; None while each fault is raised at once.
_faults: list[str] | None = None


def begin() -> None:
    """Collect what is wrong from now on, so that a block of variables is judged whole and not word by word."""
    global _faults
    _faults = []


def end() -> None:
    """Raise what was wrong since ``begin()``.

    Raises:
        ImproperlyConfigured: with a line for each fault.
    """
    global _faults
    found, _faults = _faults or [], None
    if found:
        raise ImproperlyConfigured("\n".join(found))


def tried(read: Callable[[], T], *, default: T) -> T:
    """Call a function that reads; after ``begin()`` its refusal is collected and the default returned."""
    try:
        return read()
    except ImproperlyConfigured as error:
        if _faults is None:
            raise
        _faults.append(str(error))
        return default


def load_file(path: Path) -> None:
    """Read ``NAME=value`` lines into the environment; variables that are set already stay."""
    if path.is_file() and os.access(path, os.R_OK):
        Env.read_env(path)


def refuse_foreign() -> None:
    """Refuse variables of other stacks that Callboard would ignore."""
    for name, instead in NOT_A_SETTING.items():
        if _given(name):
            tried(partial(_refuse, f"{name} is not a setting of Callboard, remove it: {instead}."), default=None)


def _refuse(message: str) -> None:
    raise ImproperlyConfigured(message)


def text(name: str, default: str = "") -> str:
    """Read a string; empty counts as not set, because compose files and shells write ``NAME=`` for that."""
    SETTINGS.add(name)
    return next(filter(None, map(_given, (name, ALSO_CALLED.get(name, ""), FORMER_NAMES.get(name, "")))), default)


def _given(name: str) -> str:
    return os.environ.get(name, "").strip()


def read(name: str, setting: Setting[T]) -> T:
    """Read one setting."""
    setting.name = name
    value = text(name)
    default = setting.default_for(None)
    return tried(lambda: setting.read(value), default=default) if value else default


def read_all(owner: type, fixed: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Read every setting that a class declares, and return them by name.

    Parameters:
        fixed: settings that are known already, by name; the environment is not asked for them.
        defaults: defaults that differ from the declared ones.
    """
    values = SimpleNamespace(**fixed)
    for setting in declared(owner):
        name = setting.name
        if name not in fixed:
            value = text(name)
            default = defaults[name] if name in defaults else setting.default_for(values)
            setattr(values, name, tried(partial(setting.read, value), default=default) if value else default)
    return vars(values)
