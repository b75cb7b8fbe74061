"""Writes ``tasks/rpc/generated`` from the .proto files (``make proto``); ``--check`` compares instead."""

import filecmp
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.rpc import status_pb2

ROOM = Path(__file__).parent
PROTO, GENERATED = ROOM / "proto", ROOM / "generated"
#: Python would look for the package of the .proto files in the folder ``callboard``, which is another one.
THEIR_IMPORT, OUR_IMPORT = "from callboard.v1 import", "from tasks.rpc.generated import"


def generate(target: Path) -> None:
    """Write the code of all .proto files into a folder."""
    # Only developers have it.
    from grpc_tools import protoc

    sources = sorted(PROTO.rglob("*.proto"))
    includes = [PROTO, files("grpc_tools") / "_proto", Path(status_pb2.__file__).parents[2]]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        if protoc.main(["protoc", *(f"-I{one}" for one in includes), *outputs, *map(str, sources)]):
            sys.exit("protoc failed, see above")
        target.mkdir(exist_ok=True)
        (target / "__init__.py").write_text('"""Written by ``make proto``; do not edit."""\n')
        for file in sorted(Path(folder).rglob("*.py*")):
            (target / file.name).write_text(file.read_text().replace(THEIR_IMPORT, OUR_IMPORT))


def differences() -> list[str]:
    """Name the files that are not as the .proto files say."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        found = filecmp.dircmp(folder, GENERATED, ignore=["__pycache__"])
        _, changed, unread = filecmp.cmpfiles(folder, GENERATED, found.common_files, shallow=False)
        return sorted([*found.left_only, *found.right_only, *changed, *unread])


def main() -> None:
    """Run the command."""
    if "--check" not in sys.argv[1:]:
        generate(GENERATED)
    elif different := differences():
        sys.exit(f"not as the .proto files say: {', '.join(different)}; run make proto")


if __name__ == "__main__":
    main()
