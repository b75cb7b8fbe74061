"""The memory of a process: what it holds now, and what it has held at most."""

import sys

import pytest

from tasks.worker import memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_the_resident_memory_grows_with_what_the_process_holds() -> None:
    before = memory.resident_bytes()
    held = bytearray(b"x" * 50_000_000)
    after = memory.resident_bytes()
    assert before is not None
    assert after is not None
    assert 40_000_000 < after - before < 80_000_000
    assert memory.peak_bytes() >= after - 1_000_000
    del held


def test_it_is_unknown_where_the_system_does_not_tell(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(memory, "_STATM", tmp_path / "statm")
    assert memory.resident_bytes() is None
