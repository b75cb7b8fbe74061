"""Callboard's settings in a Django project: where a value comes from, and what is refused."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from tasks.conf import Conf, conf
from tasks.setting import (
    Address,
    Choice,
    FieldNames,
    Flag,
    Folder,
    Integer,
    Names,
    Networks,
    Options,
    Origins,
    PathPrefix,
    Rate,
    Seconds,
    Setting,
    Text,
    UrlTemplate,
    declared,
)


def test_a_setting_is_djangos_or_callboards_or_its_default(settings) -> None:
    del settings.AGEING_SECONDS
    assert conf.AGEING_SECONDS == 60
    settings.CALLBOARD = {"AGEING_SECONDS": 7}
    assert conf.AGEING_SECONDS == 7
    settings.AGEING_SECONDS = 8
    assert conf.AGEING_SECONDS == 8


def test_a_default_may_follow_another_setting(settings) -> None:
    del settings.DEFAULT_MAX_RETRIES
    assert conf.DEFAULT_MAX_RETRIES == 3
    settings.DRAMATIQ_DEFAULTS = True
    assert conf.DEFAULT_MAX_RETRIES == 20


def test_every_default_is_a_value_that_its_setting_accepts(settings) -> None:
    names = [setting.name for setting in declared(Conf)]
    for name in names:
        if hasattr(settings, name):
            delattr(settings, name)
    for setting in declared(Conf):
        value = getattr(conf, setting.name)
        assert setting.read(value) == value, setting.name


@pytest.mark.parametrize(
    ("setting", "given", "value"),
    [
        (Text(""), " words ", "words"),
        (Text(""), Path("/a"), "/a"),
        (Folder(Path()), "/a", Path("/a")),
        (Flag(False), "Yes", True),
        (Flag(True), "off", False),
        (Choice("INFO", ["INFO", "DEBUG"]), "debug", "DEBUG"),
        (Integer(1), "12", 12),
        (Seconds(1), "1.5", 1.5),
        (Seconds(1), "2.0", 2),
        (Seconds(1), timedelta(minutes=2), 120),
        (Rate("1/s"), "50/m", (50, 60)),
        (Rate("1/s"), "0", None),
        (Rate("1/s"), 0, None),
        (Rate("1/s"), (5, 1.0), (5, 1.0)),
        (Names([]), "a, b,", ["a", "b"]),
        (Names([]), ("a", "b"), ["a", "b"]),
        (Origins([]), "*", ["*"]),
        (UrlTemplate("", ["id"]), "https://a.example/{id}?x=%20", "https://a.example/{id}?x=%20"),
        (Networks([]), "10.0.0.1/8", [ip_network("10.0.0.0/8")]),
        (Networks([]), ["10.0.0.0/8"], [ip_network("10.0.0.0/8")]),
        (Address(None), ("::1", 80), ("::1", 80)),
        (PathPrefix(None), "/board/", "/board"),
        (Options({}), {"a": 1}, {"a": 1}),
    ],
    ids=lambda value: value.__class__.__name__ if isinstance(value, Setting) else repr(value),
)
def test_text_and_values_of_python_are_read_and_read_again(setting: Setting[object], given: object, value: object):
    assert setting.read(given) == value
    assert setting.read(setting.read(given)) == value


@pytest.mark.parametrize(
    ("setting", "given"),
    [
        (Flag(False), "maybe"),
        (Flag(False), 1),
        (Choice("INFO", ["INFO"]), "loud"),
        (Choice("INFO", ["INFO"]), None),
        (Integer(1, maximum=5), 6),
        (Integer(1), True),
        (Integer(1), 1.0),
        (Integer(1), "1.0"),
        (Seconds(1), -1),
        (Seconds(1), float("nan")),
        (Seconds(1), float("inf")),
        (Seconds(1), False),
        (Seconds(1), None),
        (Rate("1/s"), "fast"),
        (Rate("1/s"), "0/m"),
        (Rate("1/s"), (0, 60)),
        (Rate("1/s"), 5),
        (Names([]), 5),
        (FieldNames([]), "iban, -"),
        (Origins([]), "*, https://a"),
        (Origins([]), "a.example"),
        (UrlTemplate("", ["id"]), "javascript:alert(1)"),
        (UrlTemplate("", ["id"]), "https://a.example/{name}"),
        (UrlTemplate("", ["id"]), "https://a.example/{id"),
        (Networks([]), "10.0.0.0/33"),
        (Networks([]), ["here"]),
        (Address(None), "localhost"),
        (Address(None), ("a", 0)),
        (PathPrefix(None), "board"),
        (Options({}), "a=1"),
    ],
    ids=lambda value: value.__class__.__name__ if isinstance(value, Setting) else repr(value),
)
def test_a_wrong_value_is_refused_with_its_name_and_what_was_expected(setting: Setting[object], given: object):
    setting.name = "THAT_ONE"
    with pytest.raises(ImproperlyConfigured, match=r"^THAT_ONE: expected .+, got "):
        setting.read(given)


def test_wrong_values_and_unknown_names_are_told_at_the_start(settings) -> None:
    del settings.CRASH_LIMIT, settings.DEFAULT_PRIORITY
    settings.CALLBOARD = {"CRASH_LIMIT": 0, "DEFAULT_PRIORITY": "11", "KEEP_SUCEEDED_SECONDS": 1}
    found = {
        message.msg: message.hint for message in run_checks() if message.id in ("callboard.E018", "callboard.E019")
    }
    assert found == {
        "CRASH_LIMIT: expected a whole number of at least 1, got 0.": None,
        "DEFAULT_PRIORITY: expected a whole number from 1 to 10, got '11'.": None,
        "CALLBOARD names KEEP_SUCEEDED_SECONDS, which is no setting.": "Did you mean KEEP_SUCCEEDED_SECONDS?",
    }
