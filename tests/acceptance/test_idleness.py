"""The watch for idle workers finds them, and its own end does not go unnoticed."""

import os
import threading
from pathlib import Path

from tests.acceptance.harness.database import Database
from tests.acceptance.harness.idleness import Idleness, _Seen, _Tail
from tests.acceptance.harness.ledger import Ledger

ME = os.getpid()


def watch(folder: Path, *, allowed_seconds: float = -1) -> Idleness:
    return Idleness(
        Database("postgresql://nowhere"),
        Ledger(folder / "ledger"),
        children=lambda: [ME],
        allowed_seconds=allowed_seconds,
    )


def look(idleness: Idleness, *, status: str = "ALIVE", threads: int = 2) -> list[str]:
    idleness._tail.read()
    idleness._judge(ME, _Seen(is_work_due=True, status={ME: status}, threads={ME: threads}))
    return idleness.sentences


def test_a_worker_that_does_nothing_while_work_is_due_is_found(tmp_path: Path) -> None:
    assert "did nothing" in look(watch(tmp_path))[0]
    assert look(watch(tmp_path, allowed_seconds=5)) == []


def test_a_process_that_starts_is_given_time(tmp_path: Path) -> None:
    idleness = watch(tmp_path)
    idleness._judge(ME, _Seen(is_work_due=True, status={}, threads={}))
    assert idleness.sentences == []
    assert look(idleness) != [], "it counts as a worker from its registration on"


def test_a_worker_that_drains_or_has_all_threads_busy_is_left_alone(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger").write("START", task="task", attempt=1)
    assert look(watch(tmp_path), threads=1) == []
    assert look(watch(tmp_path), status="DRAINING") == []
    assert look(watch(tmp_path), threads=1, status="GONE") != [], "busy or not, it should have been replaced"


def test_an_entry_that_is_half_written_is_read_when_it_is_there(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.write("START", task="task", attempt=1)
    whole, half = ledger.path.read_bytes(), 20
    ledger.path.write_bytes(whole + whole.replace(b'"task"', b'"other"')[:half])
    tail = _Tail(ledger)
    tail.read()
    assert tail.running[ME] == {("task", 1)}
    assert [entry.task for entry in ledger.entries()] == ["task"]
    with ledger.path.open("ab") as file:
        file.write(whole.replace(b'"task"', b'"other"')[half:])
    tail.read()
    assert tail.running[ME] == {("task", 1), ("other", 1)}


def test_a_watch_that_ended_early_says_so(tmp_path: Path) -> None:
    idleness = watch(tmp_path)
    idleness._thread = threading.Thread(target=lambda: None)
    idleness.start()
    idleness._thread.join(5)
    idleness.stop()
    assert "ended early" in idleness.sentences[0]
