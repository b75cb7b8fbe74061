"""``manage.py prepare``: migrate the database, and make an account that can log in."""

import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import InternalError, OperationalError

from scheduler_site.embedded.private import read_pairs, write_pairs
from scheduler_site.embedded.server import one_line
from tasks.db import former_label
from tasks.lifecycle import Author, tokens
from tasks.management.callboard import operator
from tasks.queries.tokens import token_for_secret
from tasks.states import Door

ADMIN = "admin"
TOKEN_NAME = "manage.py prepare"  # noqa: S105


class Command(BaseCommand):
    help = "Migrate, and make an admin user and a staff API token with random secrets unless they exist."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--credentials", type=Path, required=True, help="private file that keeps the secrets")

    def handle(self, *args: Any, credentials: Path, **options: Any) -> None:
        try:
            if former_label.is_there():
                former_label.rename()
            call_command("migrate", interactive=False, verbosity=0)
            self._make_operator(credentials)
        except (OperationalError, InternalError) as error:
            # The database is away or damaged; a traceback would not help.
            raise CommandError(f"the database does not answer as it should: {one_line(str(error))}") from error

    def _make_operator(self, credentials: Path) -> None:
        known = read_pairs(credentials)
        user, password = _admin(known.get("ADMIN_PASSWORD", ""))
        token = _token(user, known.get("API_TOKEN", ""))
        write_pairs(
            credentials,
            {"ADMIN_USER": ADMIN, "ADMIN_PASSWORD": password, "API_TOKEN": token},
            comment="Made by manage.py prepare; a password that was changed later is not here.",
        )


def _admin(known_password: str) -> tuple[AbstractUser, str]:
    """Find or make the admin; an existing one keeps its password, which is returned only if it is known here."""
    users = get_user_model().objects
    user = users.filter(username=ADMIN).first()
    if user is not None:
        return user, known_password if user.check_password(known_password) else ""
    password = known_password or secrets.token_urlsafe(12)
    return users.create_superuser(ADMIN, password=password), password


def _token(user: AbstractUser, known_secret: str) -> str:
    """Keep the known token if it is valid, else issue a new one."""
    if known_secret and token_for_secret(known_secret):
        return known_secret
    _, secret = tokens.issue(user=user, name=TOKEN_NAME, by=Author(operator.name(), Door.CLI, "prepare"))
    return secret
