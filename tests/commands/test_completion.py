"""``callboard completion``: the script, in a real shell."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.management.callboard.completion import SHELLS
from tests.commands.cli import callboard

_ASK_BASH = """
source "$1"; shift
COMP_WORDS=("$@" ""); COMP_CWORD=$#; COMP_LINE="$* "; COMP_POINT=${#COMP_LINE}
_shtab_manage_py
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_bash_completes_commands_and_nouns(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(callboard("completion", "bash"))

    def after(*words: str) -> set[str]:
        command = ["bash", "--norc", "-c", _ASK_BASH, "bash", str(script), *words]
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())

    assert {"callboard", "migrate", "runworkers", "up"} <= after("./manage.py")
    assert {"tasks", "dlq", "submit", "actors"} <= after("./manage.py", "callboard")
    assert after("./manage.py", "callboard", "tasks") == {"list", "show", "workflow", "cancel", "retry", "signal"}


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_can_read_its_script(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(callboard("completion", shell))
    assert "callboard" in script.read_text()
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(script)], check=True)
