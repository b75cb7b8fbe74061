"""What `pip install` brings into another project."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned() -> dict[str, str]:
    """Read the versions that Callboard's own site runs on."""
    return dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "requirements.txt").read_text(), flags=re.M))


def test_the_pinned_versions_are_among_those_that_another_project_may_have() -> None:
    pins = pinned()
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert requirement.specifier.contains(pins[requirement.name]), requirement


def test_a_wheel_has_code_migrations_templates_and_static_files_and_no_tests(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="builds the wheel")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    source = tmp_path / "source"
    for name in files:
        if name.startswith(("callboard/", "tasks/", "dlq/", "scheduler_site/", "tests/__init__")) or "/" not in name:
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("callboard-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = {name for name in files if name.startswith(("callboard/", "tasks/", "dlq/", "scheduler_site/"))}
    assert packed == ours


@pytest.mark.parametrize("name", ["tasks", "dlq"])
def test_a_package_of_the_project_that_hides_ours_is_named_with_the_way_out(tmp_path: Path, name: str) -> None:
    own = tmp_path / name
    own.mkdir()
    (own / "__init__.py").touch()
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import callboard"
    answer = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    message = answer.stderr.splitlines()[-1]
    assert f"Callboard's package '{name}' is hidden by {own}" in message
    assert f"name = 'shop_{name}', label = '{name}'" in message
