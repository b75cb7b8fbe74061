"""Callboard's settings with the benchmarks' actors, and a bare view to compare submission over HTTP with."""

from scheduler_site.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]  # noqa: F405
ROOT_URLCONF = "benchmarks.urls"
