"""The fingerprint of a death's cause: a hash of actor, error type, place in the user's code, and normalised message."""

import hashlib
import re
import sys
import sysconfig
from functools import cache
from pathlib import Path

import tasks
from tasks.masking import masked_text

_LONGEST = 1000
#: Of a frame, so that it fits its column.
_LONGEST_FRAME = 300
# Ids, addresses and numbers differ between two deaths of one cause; words do not. Six hexadecimal digits are an id if
# one of them is a digit: "facade" is a word.
_VARIABLE = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|0x[0-9a-f]+"
    r"|(?<![^\W_])(?=[a-f]*\d)[0-9a-f]{6,}(?![^\W_])"
    r"|\d+(?:[.,]\d+)*(?:e[+-]?\d+)?",
    re.IGNORECASE,
)
# An apostrophe inside a word does not quote.
_QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)|(?<!\w)\"[^\"]*\"(?!\w)")
#: What these quote is a name in the code or a key of the data's form: it tells two causes apart.
_NAMING = frozenset({"KeyError", "AttributeError"})
_FRAME = re.compile(r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>.+)$')
_BEGIN = "Traceback (most recent call last):\n"


def fingerprint(actor: str, error_type: str, message: str, *, frame: str = "") -> str:
    """Hash the parts that deaths of one cause share; 32 hexadecimal digits.

    >>> fingerprint("mail", "ValueError", "order 17") == fingerprint("mail", "ValueError", "order 18.5")
    True

    Parameters:
        frame: of ``own_frame``; its line does not count, since each release moves it.
    """
    # Without secrets: they differ between deaths of one cause too, and a hash of one could be guessed.
    text = masked_text(message[:_LONGEST])
    if error_type.rpartition(".")[2] not in _NAMING:
        text = _QUOTED.sub("#", text)
    parts = (actor, error_type, re.sub(r":\d+ in ", " in ", frame), _VARIABLE.sub("#", text))
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:32]


def own_frame(traceback: str) -> str:
    """Find the innermost frame of the user's own code, as in ``shop/actors.py:28 in settle``; empty if there is none.

    Libraries, Python's own modules and Callboard are not the user's.
    """
    _, begin, block = traceback.rpartition(_BEGIN)
    found = ""
    for line in block.splitlines() if begin else []:
        if not line.startswith(" "):
            # The error's own text, which may quote another traceback.
            break
        frame = _FRAME.match(line)
        if frame and _is_own(frame["file"]):
            found = f"{_short(frame['file'])}:{frame['line']} in {frame['function']}"
    return found[:_LONGEST_FRAME]


@cache
def _foreign() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib")
    here = Path(tasks.__file__).parent
    folders = [*(sysconfig.get_path(name) for name in names), here, here.parent / "dlq"]
    return tuple(f"{folder}/" for folder in folders)


def _is_own(file: str) -> bool:
    is_library = "/site-packages/" in file or "/dist-packages/" in file or file.startswith("<")
    return not is_library and not file.startswith(_foreign())


def _short(file: str) -> str:
    """Leave out the folder of the import: releases are often installed side by side."""
    roots = [f"{Path(root or '.').absolute()}/" for root in sys.path]
    longest = max((root for root in roots if file.startswith(root)), key=len, default="")
    return file.removeprefix(longest)
