"""The Django project around Callboard: settings, URLs, and the private servers of ``manage.py up``."""
