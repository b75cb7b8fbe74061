"""The records of benchmarked actors in a file: the task's number, and when it started and ended."""

import os
import struct
from functools import cache
from pathlib import Path
from typing import NamedTuple

_RECORD = struct.Struct("=Qdd")


class Record(NamedTuple):
    """One run of one task; times are seconds since 1970."""

    number: int
    started: float
    ended: float


@cache
def _file() -> int:
    return os.open(os.environ["BENCH_RECORDS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def write(number: int, started: float, ended: float) -> None:
    """Append one record; writes this small to the end of a file do not mix with those of other processes."""
    os.write(_file(), _RECORD.pack(number, started, ended))


def read(path: Path) -> list[Record]:
    """Read all records."""
    return [Record(*one) for one in _RECORD.iter_unpack(path.read_bytes())] if path.exists() else []


def count(path: Path) -> int:
    """Count all records without reading them."""
    return path.stat().st_size // _RECORD.size if path.exists() else 0
