"""App configuration: finds the declared actors and connects the engine to lifecycle."""

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
        """Import every app's actors, so that each process knows what can be submitted."""
        from tasks import checks  # noqa: F401 - registers them
        from tasks.engine import presence, wakeups
        from tasks.telemetry import journal, metrics

        discover_actors()
        post_migrate.connect(presence.declare_queues, sender=self)
        wakeups.connect()
        journal.connect()
        metrics.connect()


def discover_actors() -> None:
    """Import the modules in which installed apps declare their actors, as ``rundramatiq`` would."""
    for app in apps.get_app_configs():
        for name in settings.DRAMATIQ_AUTODISCOVER_MODULES:
            module = f"{app.name}.{name}"
            if module not in settings.DRAMATIQ_IGNORED_MODULES and module_has_submodule(app.module, name):
                import_module(module)
