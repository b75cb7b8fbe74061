"""``docs/into-your-project.md``, typed as it stands into a project that Django has just made."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance.test_second_project import ROOT, Shop, database

__all__ = ["database"]

PAGE = (ROOT / "docs" / "into-your-project.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def test_a_new_project_runs_a_task_after_the_steps_of_the_page(tmp_path: Path, database: str) -> None:
    settings, _dictionary, urls, actor = blocks("python")
    start, submit = ([line.split() for line in text.splitlines()] for text in blocks("text"))
    shop = Shop("shop.settings", database)
    make = [sys.executable, "-m", "django", "startproject", "shop", str(tmp_path)]
    subprocess.run(make, check=True, env={**os.environ, "DJANGO_SETTINGS_MODULE": ""})
    orders = tmp_path / "orders"
    orders.mkdir()
    (orders / "__init__.py").touch()
    (orders / "actors.py").write_text(actor)
    (tmp_path / "shop" / "urls.py").write_text(urls)
    with (tmp_path / "shop" / "settings.py").open("a") as file:
        file.write(settings.replace("redis://127.0.0.1:6379/0", shop.environment["SHOP_REDIS"]))
        file.write('MIDDLEWARE.insert(0, "tasks.api.middleware.RequestMiddleware")\n')
        server = {name: shop.environment[f"SHOP_{name}"] for name in ("HOST", "PORT", "USER", "PASSWORD")}
        one = {"ENGINE": "django.db.backends.postgresql", "NAME": database, **server}
        file.write(f"DATABASES = {{'default': {one!r}}}\n")
    shop.folder = tmp_path
    shop.environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])

    check, migrate, scheduler, workers = (line[1:] for line in start)
    assert "no issues" in shop.run(*check)
    shop.run(*migrate)
    with (
        shop.running(*scheduler, log=tmp_path / "scheduler"),
        shop.running(*workers, log=tmp_path / "workers"),
    ):
        assert "order 7 confirmed" in shop.run(*submit[0][1:])
