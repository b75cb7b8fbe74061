"""Dockerfile, .dockerignore and docker-compose.yml as Docker reads them, as far as ours go."""

import fnmatch
import re
import shutil
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
#: A variable whose default holds no further one.
_INNERMOST = re.compile(r"\$\{(\w+):-([^${}]*)\}")
#: Of everything that a build could send.
_NOT_SOURCES = {".git", ".venv", "var", "__pycache__"}


def compose() -> dict[str, Any]:
    """Read the compose file; anchors are resolved, variables are not."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def role_sql(password: str = "") -> list[str]:
    """Read the statements that PostgreSQL's image runs for a new data folder, as psql sends them."""
    source = next(
        volume.split(":")[0] for volume in compose()["services"]["postgres"]["volumes"] if "initdb.d" in volume
    )
    lines = [line for line in (ROOT / source).read_text().splitlines() if not line.startswith(("--", "\\set"))]
    return [line.rstrip(";").replace(":'password'", f"'{password}'") for line in lines]


def interpolated(value: Any, variables: Mapping[str, str] | None = None) -> Any:
    """Resolve ``${NAME:-default}``, and ``$$``.

    Parameters:
        variables: those of ``.env``; by default none, as in a fresh clone.
    """
    known = variables or {}
    if isinstance(value, dict):
        return {name: interpolated(one, known) for name, one in value.items()}
    if isinstance(value, list):
        return [interpolated(one, known) for one in value]
    if isinstance(value, str):
        while (after := _INNERMOST.sub(lambda found: known.get(found[1]) or found[2], value)) != value:
            value = after
        return value.replace("$$", "$")
    return value


def in_order(services: dict[str, Any]) -> list[str]:
    """Sort services so that each comes after what it depends on."""
    return list(TopologicalSorter({name: one.get("depends_on", {}) for name, one in services.items()}).static_order())


def instructions() -> list[tuple[str, str]]:
    """Read the Dockerfile: instruction and arguments, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def final_stage() -> list[tuple[str, str]]:
    """Give the instructions that make the image itself."""
    found = instructions()
    return found[max(number for number, (name, _) in enumerate(found) if name == "FROM") :]


def image_environment() -> dict[str, str]:
    """Give the image's variables."""
    pairs = [pair for name, rest in final_stage() if name == "ENV" for pair in rest.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def context() -> list[Path]:
    """List the files that .dockerignore lets into a build."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    files = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
    return [path for path in files if not _NOT_SOURCES & {path.parts[0]} and not _is_ignored(path, rules)]


def make_image(folder: Path) -> None:
    """Copy what the Dockerfile copies, out of what .dockerignore lets through."""
    files = context()
    for name, rest in final_stage():
        words = rest.split()
        if name != "COPY" or words[0].startswith("--from"):
            continue
        for source in words[:-1]:
            found = [path for path in files if path.is_relative_to(source)]
            assert found, f"COPY {source}: nothing of it is in the build's context"
            for path in found:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, target)


def seconds(duration: str) -> float:
    """Read one of compose's durations, of one unit."""
    units = {"s": 1, "m": 60}
    return float(duration[:-1]) * units[duration[-1]]


def _is_ignored(path: Path, rules: list[str]) -> bool:
    """Apply the last rule that matches the file or a folder that it is in."""
    ignored = False
    names = [str(path), *(str(parent) for parent in path.parents if parent != Path())]
    for rule in rules:
        pattern = rule.removeprefix("!").removeprefix("**/")
        deep = rule.startswith("**/")
        if any(fnmatch.fnmatchcase(Path(name).name if deep else name, pattern) for name in names):
            ignored = not rule.startswith("!")
    return ignored
