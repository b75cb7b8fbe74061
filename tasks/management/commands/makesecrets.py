"""``manage.py makesecrets``: passwords and keys for a new installation, in a file per reader."""

import secrets
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scheduler_site.embedded.private import read_pairs, write_pairs

#: Hexadecimal digits, which need no quoting in URLs and configuration files.
_BYTES = 24
_REQUIREPASS = "requirepass "
_RABBITMQ_LINE = "default_pass = "
#: What comes after the password in RabbitMQ's file.
_OF_RABBITMQ = "default_user = callboard\nlog.console = true\n"


class Command(BaseCommand):
    """Makes missing secrets and keeps existing ones."""

    help = (
        "Make random secrets unless they exist: app/callboard.env (SECRET_KEY and the servers' addresses), "
        "postgres/password, postgres/superuser_password, redis/redis.conf, rabbitmq/rabbitmq.conf and "
        "grafana/admin_password. "
        "docker-compose.yml runs it before anything else."
    )
    # The checks read settings that this command is about to make.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the arguments."""
        parser.add_argument("folder", type=Path, help="where the folders of app and servers are, or will be made")
        parser.add_argument("--postgres-host", default="postgres", metavar="HOST", help="default: postgres")
        parser.add_argument("--redis-host", default="redis", metavar="HOST", help="default: redis")
        parser.add_argument("--rabbitmq-host", default="rabbitmq", metavar="HOST", help="default: rabbitmq")

    def handle(self, *, folder: Path, postgres_host: str, redis_host: str, rabbitmq_host: str, **_: Any) -> None:
        """Make the secrets, the app's last, so that an interrupted run can simply be repeated."""
        try:
            password = _kept(folder / "postgres" / "password")
            _kept(folder / "postgres" / "superuser_password")
            broker = _kept(folder / "redis" / "redis.conf", before=_REQUIREPASS)
            rabbitmq = _kept(folder / "rabbitmq" / "rabbitmq.conf", before=_RABBITMQ_LINE, after=_OF_RABBITMQ)
            _kept(folder / "grafana" / "admin_password")
            self._write_app(
                folder / "app" / "callboard.env",
                DATABASE_URL=f"postgres://callboard:{password}@{postgres_host}:5432/callboard",
                BROKER_URL=f"redis://:{broker}@{redis_host}:6379/0",
                REDIS_URL=f"redis://:{broker}@{redis_host}:6379/0",
                RABBITMQ_URL=f"amqp://callboard:{rabbitmq}@{rabbitmq_host}:5672",
            )
        except OSError as error:
            raise CommandError(f"cannot write {error.filename}: {error.strerror}") from error

    def _write_app(self, path: Path, **addresses: str) -> None:
        known = read_pairs(path)
        wanted = {"SECRET_KEY": known.get("SECRET_KEY") or secrets.token_hex(32), **addresses}
        if known == wanted:
            self.stdout.write(f"{path} exists already")
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_pairs(path, wanted, comment="Made by manage.py makesecrets; delete SECRET_KEY to end all sessions.")
        self.stdout.write(f"wrote {path}")


def _kept(path: Path, *, before: str = "", after: str = "") -> str:
    """Read the secret of a file, which is in its first line; make it on first use."""
    first_line = path.read_text().strip().partition("\n")[0] if path.exists() else ""
    known = first_line.removeprefix(before.strip()).strip()
    if known:
        return known
    secret = secrets.token_hex(_BYTES)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(f"{before}{secret}\n{after}")
    # The server runs under another account, in a container that has only this folder.
    unfinished.chmod(0o644)
    unfinished.replace(path)
    return secret
