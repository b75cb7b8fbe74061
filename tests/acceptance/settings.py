"""The site's settings and, in front of its actors, those of the stage."""

from scheduler_site.settings import *  # noqa: F403
from scheduler_site.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.acceptance.stage"]
