"""Two roles of PostgreSQL, with the rights that docs/deploy.md gives them: one migrates, the other runs everything."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege

from scheduler_site.embedded.processes import wait_for
from tests.acceptance.harness.servers import Databases

ROOT = Path(__file__).resolve().parents[2]
OWNER, RUNNER = "rights_owner", "rights"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Installation:
    """A migrated database and the environment of processes that use it as the running role."""

    def __init__(self, urls: dict[str, str], folder: Path) -> None:
        self.urls = urls
        self.log = folder / "log.txt"
        self.environment = {
            "PATH": os.environ["PATH"],
            "ENV_FILE": os.devnull,
            "BROKER_URL": "inprocess://",
            "SECRET_KEY": "key-of-the-rights-test-32-characters",
            "BUILTIN_ACTORS": "true",
            "KEEP_SUCCEEDED_SECONDS": "1",
            "METRICS_DIR": str(folder / "metrics"),
            "DJANGO_SUPERUSER_PASSWORD": "not-a-common-one",
        }

    def run(self, *words: str, role: str = RUNNER) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, "DATABASE_URL": self.urls[role]}
        command = [sys.executable, "manage.py", *words]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run a scheduler with workers as the running role."""
        environment = {**self.environment, "DATABASE_URL": self.urls[RUNNER]}
        command = [sys.executable, "manage.py", "runscheduler", "--with-workers"]
        with self.log.open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture
def installation(databases: Databases, tmp_path: Path) -> Iterator[Installation]:
    """Run the statements of the docs as the administrator, and migrate as the owner."""
    before, _, after = _statements().partition(f"\\connect {RUNNER}\n")
    admin = databases.server.superuser_url
    server = urlsplit(admin)
    netloc = f"{server.hostname}:{server.port}"
    passwords = dict(re.findall(r"CREATE ROLE (\w+) LOGIN PASSWORD '([^']+)'", before))
    urls = {role: f"postgres://{role}:{quote(password)}@{netloc}/{RUNNER}" for role, password in passwords.items()}
    for statement in filter(str.strip, before.split(";")):
        _execute(admin, statement)
    try:
        _execute(server._replace(path=f"/{RUNNER}").geturl(), after)
        made = Installation(urls, tmp_path)
        migrated = made.run("migrate", "--verbosity", "0", role=OWNER)
        assert migrated.returncode == 0, migrated.stderr
        yield made
    finally:
        _execute(admin, f"DROP DATABASE {RUNNER} WITH (FORCE)")
        _execute(admin, f"DROP ROLE {RUNNER}; DROP ROLE {OWNER}")


def _statements() -> str:
    """Read them from the page, under other names: the server has a database of that name."""
    blocks = re.findall(r"^```psql\n(.*?)^```", (ROOT / "docs" / "deploy.md").read_text(), re.M | re.S)
    (text,) = [block for block in blocks if "callboard_owner" in block]
    return str(text).replace("callboard_owner", OWNER).replace("callboard", RUNNER)


def _execute(url: str, statements: str) -> None:
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statements)


def test_the_running_role_needs_no_more_rights_than_the_docs_give_it(installation: Installation) -> None:
    with installation.running():
        done = installation.run("callboard", "submit", "echo", "--payload", "message=hi", "--wait", "60")
        assert (done.returncode, done.stderr) == (0, "")
        id = done.stdout.splitlines()[0].partition("\t")[2]
        dead = installation.run("callboard", "submit", "demo_fail", "--max-retries", "0", "--wait", "60")
        assert dead.returncode == 1
        letter = installation.run("callboard", "dlq", "list", "-q").stdout.strip()
        for words in (
            ["dlq", "redrive", letter], ["queues", "pause", "default"], ["queues", "resume", "default"],
            ["stats"], ["tasks", "list"], ["workers", "list"],
        ):  # fmt: skip
            answer = installation.run("callboard", *words)
            assert answer.returncode == 0, (words, answer.stderr)
        made = installation.run("createsuperuser", "--noinput", "--username", "ada", "--email", "ada@example.org")
        assert made.returncode == 0, made.stderr
        # The pruner deletes.
        assert wait_for(lambda: installation.run("callboard", "tasks", "show", id).returncode == 1, seconds=60)
    assert "permission denied" not in installation.log.read_text()


def test_the_running_role_cannot_change_the_schema(installation: Installation) -> None:
    for statement in ("CREATE TABLE mine ()", "DROP TABLE callboard_task", "TRUNCATE callboard_task"):
        with pytest.raises(InsufficientPrivilege):
            _execute(installation.urls[RUNNER], statement)
