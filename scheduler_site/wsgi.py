"""The api's entry point: ``gunicorn scheduler_site.wsgi``."""

import os

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_site.settings")

application = get_wsgi_application()

# Here, so that a missing or weak key fails at the start and not at the first login; gunicorn runs no system checks.
if settings.SECRET_KEY:
    from tasks.checks import check_secret_key

    for error in check_secret_key():
        raise ImproperlyConfigured(f"{error.msg} {error.hint}")
