"""App configuration of the dead letter queue."""

from django.apps import AppConfig


class DlqConfig(AppConfig):
    """Dead letters."""

    name = "dlq"
    verbose_name = "Dead letters"
    default_auto_field = "django.db.models.BigAutoField"
