"""django-dramatiq's ``DramatiqTestCase`` for Callboard: a real worker, and the scheduler that it needs."""

from django_dramatiq import test

from tasks.broker.notifier import notifier
from tasks.scheduler.process import Scheduler


class DramatiqTestCase(test.DramatiqTestCase):  # type: ignore[misc]
    """A test with ``self.broker`` and a running ``self.worker``, as teams have written it for stock Dramatiq."""

    def setUp(self) -> None:
        """Start a scheduler and a worker in this process."""
        self.scheduler = Scheduler()
        self.scheduler.start()
        self.addCleanup(self.scheduler.stop)
        # Whatever the broker is: a wake-up through PostgreSQL would leave a session open in the test database.
        notifier.local = self.scheduler.wake
        super().setUp()
