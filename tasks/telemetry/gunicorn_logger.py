"""Gunicorn's log lines in the product's format; its master writes some before Django sets logging up."""

import os
from typing import Any

from django.conf import settings
from gunicorn.glogging import Logger

from tasks.telemetry import logs


class GunicornLogger(Logger):  # type: ignore[misc]
    """The ``logger_class`` of ``gunicorn.conf.py``."""

    def setup(self, cfg: Any) -> None:
        """Set up logging as the worker processes of Gunicorn will."""
        super().setup(cfg)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_site.settings")
        logs.configure(settings.LOGGING)
