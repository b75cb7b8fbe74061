"""``manage.py openapi``: write docs/openapi.yaml, or check that it is up to date."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tasks.api import openapi
from tasks.conf import conf

HEAD = "# The REST API, as GET /api/schema describes it. Written by `manage.py openapi`; do not edit.\n"


class Command(BaseCommand):
    help = "Write the OpenAPI description of the REST API to docs/openapi.yaml."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="write nothing; exit with 1 if the file is out of date"
        )

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        path = conf.BASE_DIR / "docs" / "openapi.yaml"
        text = written()
        if not check:
            path.write_text(text)
        elif _read(path) != text:
            raise CommandError(f"{path.name} is out of date: run `manage.py openapi`")


def written() -> str:
    """Write the description as YAML."""
    # A package for developers; production does not install it.
    import yaml

    class Plain(yaml.SafeDumper):
        """Writes no anchors, which are hard to read."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return HEAD + yaml.dump(openapi.document(), Dumper=Plain, sort_keys=False, allow_unicode=True, width=120)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
