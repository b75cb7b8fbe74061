"""What tests of your actors need: run tasks in the test's thread and transaction, assert about them, travel in time.

``docs/testing.md`` shows each. The names are loaded when they are first used: workers import ``failpoints`` from this
package, which must not bring in a worker again.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.testing.case import CallboardTestMixin
    from tasks.testing.clock import travel
    from tasks.testing.dramatiq_case import DramatiqTestCase
    from tasks.testing.runs import EndlessDrain, drain, inline, perform
    from tasks.testing.submissions import assert_not_submitted, assert_submitted, submitted
    from tasks.testing.worker import Busy

__all__ = [
    "Busy",
    "CallboardTestMixin",
    "DramatiqTestCase",
    "EndlessDrain",
    "assert_not_submitted",
    "assert_submitted",
    "drain",
    "inline",
    "perform",
    "submitted",
    "travel",
]

_MODULES = {
    "Busy": "worker",
    "CallboardTestMixin": "case",
    "DramatiqTestCase": "dramatiq_case",
    "EndlessDrain": "runs",
    "assert_not_submitted": "submissions",
    "assert_submitted": "submissions",
    "drain": "runs",
    "inline": "runs",
    "perform": "runs",
    "submitted": "submissions",
    "travel": "clock",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
