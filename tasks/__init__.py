"""Callboard's core: tasks, their lifecycle, the engine that runs them and the doors that take them in."""

#: The one version number: packaging, `manage.py callboard --version`, OpenAPI and the metrics read it here.
__version__ = "0.1.0"
