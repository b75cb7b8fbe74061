"""The site's settings with the stage as an additional app."""

from scheduler_site.settings import *  # noqa: F403
from scheduler_site.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.acceptance.stage"]

# Logins are tried while servers are frozen; that they take a second of the processor each is not what is tried.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
