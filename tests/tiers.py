"""Which cases of a test `make test` runs, and which only `make test-all`."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow_except(*fast: Any, of: Iterable[Any]) -> list[Any]:
    """Mark the cases of a parametrised test as slow, except for those that stand for the others in `make test`."""
    cases = list(of)
    unknown = set(fast) - set(cases)
    if unknown:
        raise ValueError(f"expected some of {cases}, got {sorted(unknown)}")
    return [case if case in fast else pytest.param(case, marks=pytest.mark.slow) for case in cases]
