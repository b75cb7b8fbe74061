"""Actors are found in modules and in packages of any depth, as django-dramatiq finds them."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps as installed

from tasks import apps

FILES = {
    "shop_app/__init__.py": "",
    "shop_app/actors/__init__.py": "",
    "shop_app/actors/mail.py": "",
    "shop_app/actors/orders/__init__.py": "",
    "shop_app/actors/orders/refunds.py": "",
    "shop_app/actors/old/__init__.py": "",
    "shop_app/actors/old/unused.py": "raise RuntimeError('ignored')",
    "shop_app/actors/broken.py": "raise RuntimeError('ignored')",
}


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Any:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    import shop_app  # type: ignore[import-not-found]

    configs = [SimpleNamespace(name="shop_app", module=shop_app)]
    monkeypatch.setattr(installed, "get_app_configs", lambda: configs)
    yield
    for name in [name for name in sys.modules if name.startswith("shop_app")]:
        del sys.modules[name]


def test_modules_of_a_package_are_found_at_any_depth_and_ignored_ones_are_not(shop, settings) -> None:
    settings.DRAMATIQ_IGNORED_MODULES = ("shop_app.actors.broken", "shop_app.actors.old.*")
    apps.discover_actors()
    loaded = {name for name in sys.modules if name.startswith("shop_app.actors")}
    assert {"shop_app.actors.mail", "shop_app.actors.orders.refunds"} <= loaded
    assert not {"shop_app.actors.broken", "shop_app.actors.old.unused"} & loaded
