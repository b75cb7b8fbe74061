"""The units of systemd: valid, complete, and in step with the settings."""

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from django.core.management import load_command_class

from scheduler_site import settings
from scheduler_site.embedded.children import Child
from tasks.rpc.server import DRAIN_SECONDS
from tasks.worker.grace_period import CLEAN_UP_SECONDS

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
HOME = "/opt/callboard"
#: gunicorn's own default, which gunicorn.conf.py keeps.
GRACEFUL_TIMEOUT_SECONDS = 30
#: As long as `up` waits for it.
SCHEDULER_STOP_SECONDS = Child("scheduler", []).patience_seconds


def service(name: str) -> configparser.SectionProxy:
    return _read(ROOT / "deploy" / "systemd" / f"callboard-{name}.service")["Service"]


def _read(path: Path) -> configparser.ConfigParser:
    # Some keys may be there twice, such as Environment; the last one counts here.
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    return parser


def test_each_process_has_a_unit() -> None:
    assert [unit.name for unit in UNITS] == [
        f"callboard-{name}.service" for name in ("api", "grpc", "scheduler", "workers")
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for program in ("python", "gunicorn"):
        (tmp_path / ".venv" / "bin" / program).symlink_to(shutil.which("true") or "/bin/true")
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace(HOME, str(tmp_path)))
    answer = subprocess.run(["systemd-analyze", "verify", "--man=no", str(here)], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "grace_seconds"),
    [
        ("workers", settings.SCHEDULER["SHUTDOWN_GRACE_SECONDS"] + CLEAN_UP_SECONDS),
        ("api", GRACEFUL_TIMEOUT_SECONDS),
        ("grpc", settings.SCHEDULER["REQUEST_DATABASE_SECONDS"] + DRAIN_SECONDS),
        ("scheduler", SCHEDULER_STOP_SECONDS),
    ],
)
def test_systemd_waits_longer_than_a_process_takes_to_stop(name: str, grace_seconds: float) -> None:
    assert "graceful_timeout" not in (ROOT / "gunicorn.conf.py").read_text()
    assert int(service(name)["TimeoutStopSec"]) >= grace_seconds + 5
    assert service(name)["KillSignal"] == "SIGTERM"


def test_the_api_may_wait_for_the_database_before_it_is_ready() -> None:
    assert int(service("api")["TimeoutStartSec"]) > settings.SCHEDULER["WAIT_SECONDS"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_each_unit_is_restarted_for_ever_and_may_do_little(unit: Path) -> None:
    parser = _read(unit)
    ours = parser["Service"]
    assert parser["Unit"]["StartLimitIntervalSec"] == "0"
    assert (ours["Restart"], ours["User"], ours["EnvironmentFile"]) == (
        "always",
        "callboard",
        "/etc/callboard/callboard.env",
    )
    assert (ours["ProtectSystem"], ours["NoNewPrivileges"], ours["CapabilityBoundingSet"]) == ("strict", "true", "")


@pytest.mark.parametrize("name", ["grpc", "scheduler", "workers"])
def test_the_command_line_of_a_unit_is_accepted(name: str) -> None:
    python, manage, command, *words = shlex.split(service(name)["ExecStart"])
    assert (python, manage) == (f"{HOME}/.venv/bin/python", "manage.py")
    # Ends the process if a word is unknown.
    load_command_class("tasks", command).create_parser("manage.py", command).parse_args(words)
