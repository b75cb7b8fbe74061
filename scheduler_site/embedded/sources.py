"""Watches a project's files for ``up --reload``."""

from collections.abc import Iterator
from pathlib import Path

_SUFFIXES = frozenset({".py", ".html"})
_NOT_SOURCES = frozenset({"var", "tests", "node_modules", "__pycache__"})


class SourceWatch:
    """Compares modification times: a thousand files take some milliseconds, and this works on every platform."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen = self._snapshot()

    def changed(self) -> str:
        """Return the relative path of a file that changed, came or went since the last call; '' if there is none."""
        before, self._seen = self._seen, self._snapshot()
        names = sorted(path for path, _ in set(before.items()) ^ set(self._seen.items()))
        return str(names[0].relative_to(self.folder)) if names else ""

    def _snapshot(self) -> dict[Path, int]:
        times = {}
        for path in self._files(self.folder):
            try:
                times[path] = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
        return times

    def _files(self, folder: Path) -> Iterator[Path]:
        for path in folder.iterdir():
            if path.is_dir():
                if not path.name.startswith(".") and path.name not in _NOT_SOURCES:
                    yield from self._files(path)
            elif path.suffix in _SUFFIXES:
                yield path
