#!/usr/bin/env python3
"""Callboard's command line: ``manage.py up`` starts everything, ``manage.py help`` lists the rest."""

import os
import sys

if sys.version_info < (3, 11):
    sys.exit("Callboard needs Python 3.11 or newer, this is %d.%d: run `make run`." % sys.version_info[:2])


def main() -> None:
    """Run the command named on the command line; a wrong setting ends it with one line, not with a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_site.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line

        from tasks.management.streams import guarded
    except ImportError:
        sys.exit("Django is not installed for this Python: run `make run`, or use .venv/bin/python.")
    try:
        with guarded():
            execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
