"""Callboard's settings with the benchmarks' actors and with a bare view, to which submission over HTTP is compared."""

from scheduler_site.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]  # noqa: F405
ROOT_URLCONF = "benchmarks.urls"
