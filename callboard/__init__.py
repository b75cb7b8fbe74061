"""Callboard in a Django project of your own.

``INSTALLED_APPS = [*callboard.APPS, "shop"]`` adds its apps in the right order, and code finds here what it needs::

    from callboard import Submission, current, submit

Settings import this module before Django is set up, so those names are looked up at their first use.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from tasks import current
    from tasks.lifecycle import Submission, submit, submit_many

__all__ = ["APPS", "Submission", "current", "submit", "submit_many"]

#: In this order: ``tasks`` tells ``django_dramatiq`` which broker to build, and is loaded first. Django 6.1 wants its
#: own app for PostgreSQL where models have arrays.
APPS = (
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular_sidecar",
    "tasks.apps.TasksConfig",
    "dlq.apps.DlqConfig",
    "django_dramatiq",
)


def __getattr__(name: str) -> Any:
    if name == "current":
        return import_module("tasks.current")
    if name in __all__:
        return getattr(import_module("tasks.lifecycle"), name)
    raise AttributeError(f"module 'callboard' has no attribute {name!r}")


def _refuse_namesakes() -> None:
    """Refuse a project whose own package hides one of Callboard's.

    Raises:
        ImproperlyConfigured: with the package that Python finds first.
    """
    for name in ("tasks", "dlq"):
        spec = find_spec(name)
        found = Path(spec.origin).parent if spec and spec.origin else None
        if found != Path(__file__).parent.with_name(name):
            raise ImproperlyConfigured(
                f"Callboard's package {name!r} is hidden by {found or 'a folder without __init__.py'}, which Python"
                f" finds first. Rename that package, to 'shop_{name}' for one, or move it into another. Its tables and"
                f" migrations stay as they are if its AppConfig then says name = 'shop_{name}', label = '{name}'."
            )


_refuse_namesakes()
