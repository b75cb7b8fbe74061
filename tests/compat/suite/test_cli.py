"""Dramatiq's own command line; after its ``test_cli``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.slow

no_broker = object()


class Holder:
    """Has something that is no broker."""

    no_broker = object()


def start(broker: str) -> subprocess.CompletedProcess[str]:
    """Start ``dramatiq`` with the name of a broker, and wait until it gives up."""
    return subprocess.run(
        [sys.executable, "-m", "dramatiq", f"{__name__}:{broker}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("broker", "error"),
    [
        ("nothing", "does not define a 'nothing' variable"),
        ("no_broker", "is not a Broker"),
        ("Holder.no_broker", "is not a Broker"),
    ],
)
def test_what_is_no_broker_is_told_and_nothing_starts(broker: str, error: str) -> None:
    done = start(broker)
    assert done.returncode == 2
    assert error in done.stdout + done.stderr
