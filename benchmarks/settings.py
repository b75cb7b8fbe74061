"""Callboard's settings with the benchmark's actor."""

from scheduler_site.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]  # noqa: F405
