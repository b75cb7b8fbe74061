"""App configuration: finds the declared actors and connects wake-ups, logs and metrics to lifecycle."""

from importlib import import_module

from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models.signals import post_migrate
from django.utils.module_loading import module_has_submodule


class TasksConfig(AppConfig):
    """Tasks."""

    name = "tasks"
    verbose_name = "Tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import every app's actors, so that each process knows all of them, and connect the signals."""
        from tasks import checks  # noqa: F401 - registers them
        from tasks.broker import notifier
        from tasks.lifecycle import workers
        from tasks.telemetry import metrics, transition_log

        discover_actors()
        post_migrate.connect(workers.declare_queues, sender=self)
        notifier.connect()
        transition_log.connect()
        metrics.connect()


def discover_actors() -> None:
    """Import the modules in which installed apps declare their actors, as ``rundramatiq`` does."""
    for app in apps.get_app_configs():
        for name in settings.DRAMATIQ_AUTODISCOVER_MODULES:
            module = f"{app.name}.{name}"
            if module not in settings.DRAMATIQ_IGNORED_MODULES and module_has_submodule(app.module, name):
                import_module(module)
