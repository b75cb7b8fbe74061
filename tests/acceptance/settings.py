"""The site's settings with the stage as an additional app."""

from scheduler_site.settings import *  # noqa: F403
from scheduler_site.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.acceptance.stage"]
