"""App configuration: finds the declared actors and connects wake-ups, logs and metrics to lifecycle."""

import os
import pkgutil
from importlib import import_module
from types import ModuleType

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_migrate
from django.utils.module_loading import module_has_submodule

from tasks.broker import dramatiq_settings
from tasks.conf import conf


class TasksConfig(AppConfig):
    """Tasks."""

    name = "tasks"
    label = "callboard"
    verbose_name = "Tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        super().__init__(app_name, app_module)
        # django_dramatiq builds the broker while it is loaded, from this setting.
        if not hasattr(settings, "DRAMATIQ_BROKER"):
            settings.DRAMATIQ_BROKER = dramatiq_settings.of(conf)
        # prometheus_client reads it once, at its first import; without it each process would report only its own
        # counters.
        conf.METRICS_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(conf.METRICS_DIR)

    def ready(self) -> None:
        """Import every app's actors, so that each process knows all of them, and connect the signals."""
        from tasks import checks, project_checks  # noqa: F401 - registers them
        from tasks.broker import notifier
        from tasks.lifecycle import workers
        from tasks.telemetry import metrics, task_stats, transition_log

        discover_actors()
        post_migrate.connect(workers.declare_queues, sender=self)
        notifier.connect()
        transition_log.connect()
        metrics.connect()
        task_stats.connect()
        if conf.TRACING:
            _trace()


def _trace() -> None:
    try:
        from tasks.telemetry import tracing
    except ImportError as error:
        raise ImproperlyConfigured(
            f"TRACING: OpenTelemetry is not installed ({error}): pip install 'callboard[otel]'"
        ) from error
    tracing.connect()


def discover_actors() -> None:
    """Import the modules in which installed apps declare their actors, as ``rundramatiq`` does.

    A package counts with all of its modules, at any depth.
    """
    for app in apps.get_app_configs():
        for name in conf.DRAMATIQ_AUTODISCOVER_MODULES:
            module = f"{app.name}.{name}"
            if not module_has_submodule(app.module, name) or _is_ignored(module):
                continue
            package = import_module(module)
            for found in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{module}."):
                if not _is_ignored(found.name):
                    import_module(found.name)


def _is_ignored(module: str) -> bool:
    """Read DRAMATIQ_IGNORED_MODULES: names of modules, and of packages with ``.*``."""
    parts = module.split(".")
    packages = {f"{'.'.join(parts[:count])}.*" for count in range(1, len(parts))}
    return not {module, *packages}.isdisjoint(conf.DRAMATIQ_IGNORED_MODULES)
