"""The api's entry point: ``gunicorn scheduler_site.wsgi``."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_site.settings")

application = get_wsgi_application()

# Read here, so that a missing key fails at the start and not at the first login.
settings.SECRET_KEY  # noqa: B018
