"""Callboard's core: tasks, their lifecycle, the processes that run them, and the doors through which they come."""

#: The one version number: packaging, `manage.py callboard --version`, OpenAPI and the metrics read it here.
__version__ = "0.1.0"
