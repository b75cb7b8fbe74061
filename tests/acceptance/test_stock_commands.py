"""Commands that start workers, stock and own, from any folder in the second project."""

import sys
from pathlib import Path

import pytest

from tests.acceptance.test_second_project import PROJECT, PYTHON, Shop, database

__all__ = ["database"]

pytestmark = pytest.mark.skipif(sys.executable != PYTHON, reason="once is enough")

MANAGE = str(PROJECT / "manage.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        (MANAGE, "rundramatiq", "--processes", "2", "--threads", "2"),
        ("-m", "dramatiq", "-p", "1", "-t", "2", "django_dramatiq.setup", "shop.orders.actors.confirming"),
        (MANAGE, "runworkers", "--processes", "1", "--threads", "2"),
    ],
    ids=["rundramatiq", "dramatiq", "runworkers"],
)
def test_a_command_runs_workers_from_any_folder(tmp_path: Path, database: str, command: tuple[str, ...]) -> None:
    shop = Shop("shop.settings", database, SHOP_API="/callboard", SHOP_ADMIN="/admin")
    shop.folder = tmp_path
    shop.run(MANAGE, "migrate", "--verbosity", "0")
    with (
        shop.running(MANAGE, "runscheduler", log=tmp_path / "scheduler"),
        shop.running(*command, log=tmp_path / "workers"),
    ):
        submit = (MANAGE, "callboard", "submit", "confirm", "--payload", "order=7", "--wait")
        assert "order 7 confirmed in attempt 1" in shop.run(*submit)
