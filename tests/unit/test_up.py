"""``manage.py up`` and a Ctrl-C at a bad moment."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from scheduler_site.embedded import children as children_module
from scheduler_site.embedded.children import Child, Children
from scheduler_site.embedded.processes import spawn
from tasks.management.commands.up import Command, StopRequest


def test_a_process_that_starts_while_ctrl_c_is_pressed_is_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command()
    command.is_stopping = command.is_forced = command.is_held = False
    children = Children(env={}, cwd=tmp_path, report=lambda _: None, uninterrupted=command._held_signals)

    def spawn_while_stopped(*arguments: Any, **options: Any) -> Any:
        process = spawn(*arguments, **options)
        command._on_signal(signal.SIGINT, None)
        return process

    monkeypatch.setattr(children_module, "spawn", spawn_while_stopped)
    with pytest.raises(StopRequest):
        children.start(Child("lasting", [sys.executable, "-c", "import time; time.sleep(60)"]))
    (child,) = children.members
    assert child.is_running()
    children.stop(is_forced=lambda: True)
    assert not child.is_running()
