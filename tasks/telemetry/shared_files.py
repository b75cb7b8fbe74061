"""The files in ``METRICS_DIR`` in which each process of this machine keeps its own counts."""

import fcntl
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from tasks.conf import conf

#: Files of ended processes are folded into one when there are this many.
FOLD_FROM = 32


class ProcessMetrics(Collector):
    """Counts of this machine's processes and of those that have ended, and gauges of those that run.

    A counter must not go down when a process ends; a gauge must not stay.
    """

    def collect(self) -> Iterator[Metric]:
        """Yield the sums over all processes."""
        with _locked(fcntl.LOCK_SH):
            ended = {path for path in _files_of_ended() if _is_gauge(path)}
            files = [str(path) for path in Path(conf.METRICS_DIR).glob("*.db") if path not in ended]
            yield from list(MultiProcessCollector.merge(files, accumulate=True))  # type: ignore[no-untyped-call]


def fold_ended() -> int:
    """Add up the files of ended processes in one, once there are ``FOLD_FROM``; return how many were folded.

    Each process has files of its own, so a scrape would otherwise read those of every worker since the installation.
    """
    if len(_files_of_ended()) < FOLD_FROM:
        return 0
    with _locked(fcntl.LOCK_EX):
        # Again: another process may have folded them meanwhile.
        ended = _files_of_ended()
        for path in filter(_is_gauge, ended):
            path.unlink()
        counts = [path for path in ended if not _is_gauge(path)]
        for kind in {path.name.split("_")[0] for path in counts}:
            _fold(kind, [path for path in counts if path.name.startswith(f"{kind}_")])
    return len(ended)


def _fold(kind: str, paths: list[Path]) -> None:
    folded = Path(conf.METRICS_DIR, f"{kind}_folded.db")
    totals: dict[str, float] = defaultdict(float)
    for path in [*paths, *([folded] if folded.exists() else [])]:
        for key, value, *_ in MmapedDict.read_all_values_from_file(path):  # type: ignore[no-untyped-call]
            totals[key] += value
    # Not in place: a process that is killed half-way must not leave half of the sums.
    new = folded.with_suffix(".new")
    new.unlink(missing_ok=True)
    file = MmapedDict(str(new))  # type: ignore[no-untyped-call]
    for key, value in totals.items():
        file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]
    new.replace(folded)
    for path in paths:
        path.unlink()


def _is_gauge(path: Path) -> bool:
    return path.name.startswith("gauge")


def _files_of_ended() -> list[Path]:
    paths = [path for path in Path(conf.METRICS_DIR).glob("*_*.db") if path.stem.split("_")[-1].isdigit()]
    return [path for path in paths if _has_ended(int(path.stem.split("_")[-1]))]


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        # It runs under another user.
        pass
    return False


@contextmanager
def _locked(mode: int) -> Iterator[None]:
    # Without the lock a scrape during a fold would see counts twice or not at all, and rate() would see a leap.
    with Path(conf.METRICS_DIR, "lock").open("a") as lock:
        fcntl.flock(lock, mode)
        yield
