"""The addresses of static files, under the path that the site is shown under."""

from django.contrib.staticfiles.storage import StaticFilesStorage
from django.urls import get_script_prefix


class PrefixedStaticFiles(StaticFilesStorage):
    """Puts the prefix of the request before each address; Django itself knows the one of FORCE_SCRIPT_NAME only."""

    def url(self, name: str | None) -> str:
        """Write the address of a file."""
        return get_script_prefix().rstrip("/") + super().url(name)
