"""The set-up behind `make run` and `make test`, with interpreters that are missing something."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with the tools that the script needs, but without Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("basename", "cat", "cut", "rm"):
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    return folder


def add_python(path: Path, name: str, *, version: tuple[int, int], has_venv: bool = True) -> None:
    """Add a fake Python that answers the script and creates fake virtual environments."""
    program = path / name
    program.write_text(f"""#!/bin/sh
case "$*" in
    -V) echo "Python {version[0]}.{version[1]}.0" ;;
    *"exit(sys.version_info"*) exit {int(version < (3, 11))} ;;
    *"import venv"*) exit {int(not has_venv)} ;;
    *"%d.%d"*) echo "{version[0]}.{version[1]}" ;;
    *hashlib*) cat >/dev/null; echo "the hash" ;;
    "-m venv "*) /bin/mkdir -p "$3/bin"; /bin/cp "$0" "$3/bin/python" ;;
    "-m pip "*) echo "$@" >> "{path}/pip.log"; exit "${{PIP_FAILS:-0}}" ;;
esac
""")
    program.chmod(0o755)


def set_up(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", ROOT / "scheduler_site" / "venv.sh", path.parent / ".venv", "requirements.txt"],
        cwd=ROOT, env={"PATH": str(path), **environment}, capture_output=True, text=True,
    )  # fmt: skip


def test_no_python_is_one_line(path: Path) -> None:
    answer = set_up(path)
    assert answer.returncode == 1
    assert answer.stderr == "make: Python 3.11 or newer is needed, found none; name another with PYTHON=...\n"


def test_an_old_python_is_one_line(path: Path) -> None:
    add_python(path, "python3", version=(3, 9))
    answer = set_up(path)
    assert answer.returncode == 1
    assert answer.stderr == "make: Python 3.11 or newer is needed, found Python 3.9.0; name another with PYTHON=...\n"


def test_an_old_python_by_name_is_one_line(path: Path) -> None:
    add_python(path, "mine", version=(3, 10))
    answer = set_up(path, PYTHON="mine")
    assert answer.returncode == 1
    assert answer.stderr == "make: PYTHON=mine: expected Python 3.11 or newer, got Python 3.10.0\n"


def test_a_python_without_venv_is_one_line_that_names_the_package(path: Path) -> None:
    add_python(path, "python3.12", version=(3, 12), has_venv=False)
    answer = set_up(path)
    assert answer.returncode == 1
    assert answer.stderr == "make: python3.12 has no venv module; on Debian or Ubuntu: apt install python3.12-venv\n"


def test_the_newest_python_is_taken_and_nothing_is_installed_twice(path: Path) -> None:
    add_python(path, "python3.11", version=(3, 11))
    add_python(path, "python3.12", version=(3, 12))
    assert "Python 3.12" in set_up(path).stdout
    again = set_up(path)
    assert (again.returncode, again.stdout) == (0, "")
    assert len((path / "pip.log").read_text().splitlines()) == 1


def test_another_python_makes_another_environment(path: Path) -> None:
    add_python(path, "python3.11", version=(3, 11))
    add_python(path, "mine", version=(3, 13))
    set_up(path)
    assert "Python 3.13" in set_up(path, PYTHON="mine").stdout


def test_a_failed_installation_is_tried_again(path: Path) -> None:
    add_python(path, "python3.11", version=(3, 11))
    answer = set_up(path, PIP_FAILS="1")
    assert answer.returncode == 1
    assert answer.stderr == "make: pip could not install what requirements.txt pins, see above\n"
    assert set_up(path).returncode == 0
    assert len((path / "pip.log").read_text().splitlines()) == 2
