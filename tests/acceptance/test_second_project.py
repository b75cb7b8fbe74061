"""Callboard in a team's own Django project (``tests/second_project``) with settings of its own.

``SECOND_PROJECT_PYTHON`` names an interpreter with other versions of Django and Python; ``make matrix`` sets it.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg2
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "tests" / "second_project"
PYTHON = os.environ.get("SECOND_PROJECT_PYTHON", sys.executable)
STOP_SECONDS = 20

pytestmark = pytest.mark.skipif(not os.environ.get("REDIS_URL"), reason="needs Redis")


class Shop:
    """The project with one of its settings modules, on databases of its own."""

    def __init__(self, settings: str, database: str, **more: str) -> None:
        server = urlsplit(os.environ["DATABASE_URL"])
        self.folder = PROJECT
        self.environment = {
            "PATH": os.environ["PATH"],
            # Another interpreter has Callboard installed.
            "PYTHONPATH": os.pathsep.join([str(PROJECT), *([str(ROOT)] if sys.executable == PYTHON else [])]),
            "PYTHONWARNINGS": "error::RuntimeWarning,error::DeprecationWarning:callboard",
            "DJANGO_SETTINGS_MODULE": settings,
            "SHOP_DATABASE": database,
            "SHOP_HOST": server.hostname or "",
            "SHOP_PORT": str(server.port),
            "SHOP_USER": unquote(server.username or ""),
            "SHOP_PASSWORD": unquote(server.password or ""),
            "SHOP_REDIS": urlunsplit(urlsplit(os.environ["REDIS_URL"])._replace(path="/5")),
            **more,
        }

    def run(self, *command: str, ok: bool = True) -> str:
        """Run a Python program in the project's folder and return what it printed."""
        done = subprocess.run(
            [PYTHON, *command], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode == 0) is ok, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout if ok else done.stdout + done.stderr

    @contextmanager
    def running(self, *command: str, log: Path) -> Iterator[None]:
        """Keep one of the project's processes running."""
        with log.open("w") as file:
            process = subprocess.Popen(
                [PYTHON, *command], cwd=self.folder, env=self.environment, stdout=file, stderr=file
            )
            try:
                yield
                assert process.poll() is None, log.read_text()[-3000:]
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(STOP_SECONDS)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """Make two databases, of which the second has ``_archive`` at the end of its name."""
    name = re.sub(r"\W", "", f"shop_{tmp_path.name}_{os.getpid()}")[-40:].lstrip("_")
    both = (name, f"{name}_archive")
    with closing(psycopg2.connect(os.environ["DATABASE_URL"])) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            for one in both:
                cursor.execute(f'CREATE DATABASE "{one}"')
            yield name
            for one in both:
                cursor.execute(f'DROP DATABASE "{one}" WITH (FORCE)')


def walk(shop: Shop, folder: Path) -> dict[str, Any]:
    """Migrate, start the scheduler and a worker, and use them."""
    assert "no issues" in shop.run("manage.py", "check", "--database", "default", "--fail-level", "WARNING")
    shop.run("manage.py", "migrate", "--verbosity", "0")
    if "peculiar" in shop.environment["DJANGO_SETTINGS_MODULE"]:
        shop.run("manage.py", "migrate", "--verbosity", "0", "--database", "archive")
    with (
        shop.running("manage.py", "runscheduler", log=folder / "scheduler"),
        shop.running("manage.py", "runworkers", "--processes", "1", "--threads", "2", log=folder / "workers"),
    ):
        found: dict[str, Any] = json.loads(shop.run("walk.py"))
        listed = shop.run("manage.py", "callboard", "tasks", "list", "--json")
        assert len(json.loads(listed)["results"]) == 3
    assert "Traceback" not in (folder / "scheduler").read_text() + (folder / "workers").read_text()
    return found


EVERY_PAGE = {
    "callboard/task": [200, True],
    "callboard/queue": [200, True],
    "callboard/worker": [200, True],
    "callboard/journal": [200, True],
    "callboard/apitoken": [200, True],
    "dlq/deadletter": [200, True],
    "callboard/apitoken/add": [200, True],
}


@pytest.mark.slow
def test_the_apps_the_urls_and_the_addresses_are_enough(tmp_path: Path, database: str) -> None:
    shop = Shop("shop.settings", database, SHOP_API="/callboard", SHOP_ADMIN="/admin")
    found = walk(shop, tmp_path)
    assert found["result"] == "order 7 confirmed in attempt 1"
    assert (found["ghosts"], found["queue"]) == (0, "default")
    assert found["submitted"] == [201, 200, True]
    assert found["location"].startswith("http://testserver/callboard/api/v1/tasks/")
    assert (found["own"], found["of others"], found["stranger"]) == (200, 404, 401)
    assert found["wrong"] == [400, "application/problem+json", "payload.order"]
    assert found["servers"] == [{"url": "/callboard"}]
    assert found["probes"] == [200, 200, 200]
    assert {page: told for page, told in found["pages"].items() if "/task/" not in page} == EVERY_PAGE
    assert all(told == [200, True] for told in found["pages"].values())
    assert found["browsable"] == 200
    # The first worker of a build tells that it was deployed.
    assert found["journal"] == [["", "deploy"], ["boss@example.org", "issue"]]


@pytest.mark.slow
def test_other_users_databases_times_paths_and_admin_sites(tmp_path: Path, database: str) -> None:
    shop = Shop("shop.settings_peculiar", database, SHOP_API="/deep/down", SHOP_ADMIN="/office")
    found = walk(shop, tmp_path)
    assert found["result"] == "order 7 confirmed in attempt 1"
    assert (found["ghosts"], found["queue"]) == (0, "orders")
    assert found["submitted"] == [201, 200, True]
    assert found["location"].startswith("http://testserver/intranet/deep/down/api/v1/tasks/")
    assert (found["own"], found["of others"], found["stranger"]) == (200, 404, 401)
    assert found["wrong"] == [400, "application/problem+json", "payload.order"]
    assert found["servers"] == [{"url": "/intranet/deep/down"}]
    assert found["probes"] == [200, 200, 200]
    assert all(told == [200, True] for told in found["pages"].values())
    assert found["browsable"] == 200
    assert found["not ours"] == "<h1>Not Callboard's</h1>"
    assert found["nowhere"].startswith("text/html")
