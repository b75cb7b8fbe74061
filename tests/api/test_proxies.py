"""The API behind proxies: addresses are those that the caller used, as far as a trusted proxy reports them."""

import os
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.callers import TASKS, assert_problem

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = "https://board.example.org"
FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "board.example.org"}


@pytest.fixture
def proxy(settings):
    """Trust the tests' own address."""
    settings.ALLOWED_HOSTS = ["testserver", "board.example.org"]
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.0/8")]
    return settings


def _submit(caller, headers):
    return caller.send(TASKS, {"actor": "act", "payload": {"do": "return"}}, headers=headers)


def test_addresses_are_those_of_the_outside(alice, proxy):
    created = _submit(alice, FORWARDED)
    assert created["Location"] == created.json()["url"]
    assert created.json()["url"].startswith(f"{OUTSIDE}{TASKS}/")
    alice.submit()
    assert alice.get(f"{TASKS}?limit=1", headers=FORWARDED).json()["next"].startswith(f"{OUTSIDE}{TASKS}?")


def test_a_stranger_chooses_neither_scheme_nor_host(alice, proxy):
    proxy.TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]
    assert _submit(alice, FORWARDED).json()["url"].startswith(f"http://testserver{TASKS}/")


def test_a_forwarded_header_is_not_read(alice, proxy):
    created = _submit(alice, {"Forwarded": "for=203.0.113.1;proto=https;host=board.example.org"})
    assert created.json()["url"].startswith("http://testserver/")


@pytest.mark.parametrize("scheme", ["ftp", "javascript", "", "https://"])
def test_a_scheme_that_is_none_changes_nothing(alice, proxy, scheme):
    created = _submit(alice, {"X-Forwarded-Proto": scheme})
    assert created.json()["url"].startswith("http://testserver/")


def test_a_forwarded_host_must_be_allowed_too(alice, proxy):
    answer = alice.get(TASKS, headers={"X-Forwarded-Host": "evil.example.org"})
    assert assert_problem(answer, 400)["errors"][0]["code"] == "unknown_host"


def test_browsers_are_told_to_insist_on_https_over_https_only(nobody, proxy):
    proxy.SECURE_HSTS_SECONDS = 3600
    assert nobody.get("/healthz", headers=FORWARDED)["Strict-Transport-Security"] == "max-age=3600"
    assert "Strict-Transport-Security" not in nobody.get("/healthz")


def test_a_redirect_to_https_spares_probes_and_those_who_came_by_it(nobody, proxy):
    proxy.SECURE_SSL_REDIRECT = True
    assert nobody.get("/admin/login/")["Location"] == "https://testserver/admin/login/"
    assert nobody.get("/admin/login/", headers=FORWARDED).status_code == 200
    assert nobody.get("/healthz").status_code == 200


def test_a_documented_production_passes_check_deploy():
    answer = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        env={**os.environ, "SECRET_KEY": "".join(map(chr, range(48, 123))), "DEBUG": "", "HTTPS": "true"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
