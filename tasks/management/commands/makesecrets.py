"""``manage.py makesecrets``: passwords and keys for a new installation, each in a file for whom it concerns."""

import secrets
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scheduler_site.embedded.private import read_pairs, write_pairs

#: Letters and digits: nothing that a URL or a configuration file would have to quote.
_BYTES = 24
_REQUIREPASS = "requirepass "


class Command(BaseCommand):
    """Make what is missing and keep what is there."""

    help = (
        "Make random secrets unless they exist: app/callboard.env (SECRET_KEY, DATABASE_URL, BROKER_URL), "
        "postgres/password and redis/redis.conf. docker-compose.yml runs it before anything else."
    )
    # They look at settings that this is about to make.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the arguments."""
        parser.add_argument("folder", type=Path, help="has folders app, postgres and redis, or gets them")
        parser.add_argument("--postgres-host", default="postgres", metavar="HOST", help="default: postgres")
        parser.add_argument("--redis-host", default="redis", metavar="HOST", help="default: redis")

    def handle(self, *, folder: Path, postgres_host: str, redis_host: str, **_: Any) -> None:
        """Make them; the app's last, so that a run that was interrupted is simply repeated."""
        try:
            password = _kept(folder / "postgres" / "password")
            broker = _kept(folder / "redis" / "redis.conf", before=_REQUIREPASS)
            self._write_app(
                folder / "app" / "callboard.env",
                DATABASE_URL=f"postgres://callboard:{password}@{postgres_host}:5432/callboard",
                BROKER_URL=f"redis://:{broker}@{redis_host}:6379/0",
            )
        except OSError as error:
            raise CommandError(f"cannot write {error.filename}: {error.strerror}") from error

    def _write_app(self, path: Path, **addresses: str) -> None:
        known = read_pairs(path)
        wanted = {"SECRET_KEY": known.get("SECRET_KEY") or secrets.token_hex(32), **addresses}
        if known == wanted:
            self.stdout.write(f"{path} is there already")
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_pairs(path, wanted, comment="Made by manage.py makesecrets; delete SECRET_KEY to end all sessions.")
        self.stdout.write(f"wrote {path}")


def _kept(path: Path, *, before: str = "") -> str:
    """Read a file's one secret, made on first use."""
    known = path.read_text().strip().removeprefix(before.strip()).strip() if path.exists() else ""
    if known:
        return known
    secret = secrets.token_hex(_BYTES)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(f"{before}{secret}\n")
    # Its server runs as another account, in a container that has this folder and no other.
    unfinished.chmod(0o644)
    unfinished.replace(path)
    return secret
