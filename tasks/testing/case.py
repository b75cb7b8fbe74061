"""The testing functions as methods, for ``TestCase``; the ``callboard`` fixture of pytest is an instance."""

from typing import Any, ClassVar

from tasks.broker import notifier
from tasks.telemetry import task_stats
from tasks.testing.clock import travel
from tasks.testing.runs import drain, inline, perform
from tasks.testing.submissions import assert_not_submitted, assert_submitted, submitted


class CallboardTestMixin:
    """For a ``TestCase``: the functions of ``tasks.testing`` as methods, no wake-ups to a scheduler, and no statistics.

    Both would open connections of their own, which could keep the test database from being dropped.
    """

    _switched_off: ClassVar[list[Any]] = []

    inline = staticmethod(inline)
    drain = staticmethod(drain)
    perform = staticmethod(perform)
    submitted = staticmethod(submitted)
    assert_submitted = staticmethod(assert_submitted)
    assert_not_submitted = staticmethod(assert_not_submitted)
    travel = staticmethod(travel)

    @classmethod
    def setUpClass(cls) -> None:
        """Switch wake-ups and statistics off."""
        cls._switched_off = [one for one in (notifier, task_stats) if one.disconnect()]
        parent: Any = super()
        parent.setUpClass()

    @classmethod
    def tearDownClass(cls) -> None:
        """Switch on again what was on."""
        parent: Any = super()
        parent.tearDownClass()
        for one in cls._switched_off:
            one.connect()
