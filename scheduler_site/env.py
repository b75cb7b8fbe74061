"""The only module that reads the environment: each setting by its name, by other stacks' names, or by a former one."""

import os
from collections.abc import Mapping
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
}
#: The name of a setting, and its name in releases before 0.2.
FORMER_NAMES = {"KEEP_JOURNAL_SECONDS": "KEEP_EVENTS_SECONDS"}
#: Settings of other stacks that Callboard does not have, each with what to do instead. They are refused rather than
#: ignored, because a set variable is relied on.
NOT_A_SETTING = {
    "CORS_ALLOW_CREDENTIALS": "web pages of other origins send a token, and never a cookie",
    "API_HOST": "give the api's address to the server that runs it: gunicorn --bind HOST:PORT",
    "GRPC_PORT": "gRPC comes with a later release; until then submit over REST",
    "WORKER_CONCURRENCY": "give the number of threads to the command: manage.py runworkers --threads N",
    "WORKER_ID": "a worker gets its id when it starts; name its pool: manage.py callboard workers start N --name NAME",
    "WORKER_POOL_SIZE": "give the number of workers to the command: manage.py runworkers --processes N",
}


def load_file(path: Path) -> None:
    """Read ``NAME=value`` lines into the environment; variables that are set already stay."""
    if path.is_file() and os.access(path, os.R_OK):
        Env.read_env(path)


def refuse_foreign() -> None:
    """Refuse variables of other stacks that Callboard would ignore."""
    for name, instead in NOT_A_SETTING.items():
        if _given(name):
            raise ImproperlyConfigured(f"{name} is not a setting of Callboard, remove it: {instead}.")


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
    return setting.read(value) if value else setting.default_for(None)


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
            setattr(values, name, setting.read(value) if value else default)
    return vars(values)
