"""Gunicorn's own lines in our form: its master writes some before Django is there to set logging up."""

import os
from typing import Any

from django.conf import settings
from gunicorn.glogging import Logger

from tasks.telemetry import logs


class GunicornLogger(Logger):  # type: ignore[misc]
    """What ``gunicorn.conf.py`` names as ``logger_class``."""

    def setup(self, cfg: Any) -> None:
        """Set up logging as the processes behind this one will."""
        super().setup(cfg)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_site.settings")
        logs.configure(settings.LOGGING)
