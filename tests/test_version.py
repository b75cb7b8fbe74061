"""One version number: every place that tells it reads the same one."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

import tasks
from tasks.api import openapi
from tasks.telemetry import metrics

ROOT = Path(__file__).resolve().parent.parent


def test_packaging_reads_the_version_from_the_code():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in pyproject["project"]["dynamic"]
    assert pyproject["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "tasks.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", tasks.__version__)


@pytest.mark.parametrize("command", ["callboard", "up"])
def test_a_command_prints_it(command: str, capsys):
    parser = load_command_class(get_commands()[command], command).create_parser("manage.py", command)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["--version"])
    assert (end.value.code, capsys.readouterr().out.strip()) == (0, tasks.__version__)


def test_the_api_description_has_it():
    assert openapi.document()["info"]["version"] == tasks.__version__
    assert f"\n  version: {tasks.__version__}\n" in (ROOT / "docs" / "openapi.yaml").read_text()


@pytest.mark.django_db
def test_metrics_have_it():
    (line,) = re.findall(r"^callboard_build_info\{(.*)\} 1\.0$", metrics.render().decode(), re.M)
    assert f'version="{tasks.__version__}"' in line
    assert 'python="' in line


def test_the_changelog_has_a_section_for_it():
    headings = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == ("Unreleased", "")
    version, day = headings[1]
    assert version == tasks.__version__
    assert str(date.fromisoformat(day)) == day
