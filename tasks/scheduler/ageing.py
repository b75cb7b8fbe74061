"""Ageing: tasks that have waited for long go before higher priorities, so that none starves."""

from collections.abc import Mapping
from math import inf

from tasks.conf import conf
from tasks.priority import LOWEST
from tasks.queries.due import PriorityLevel


class Ageing:
    """Lets an aged task go first for every ``ONE_IN`` tasks that a band dispatches in their own turn.

    A task's effective priority grows by one with every ``AGEING_SECONDS`` it is due.
    """

    ONE_IN = 8
    #: A band without aged tasks saves up no more than this.
    MOST_CREDIT = 8.0

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def earn(self, broker_queue: str, count: int) -> None:
        """Count tasks that were dispatched in their own turn."""
        self._credit[broker_queue] = min(self.MOST_CREDIT, self._credit.get(broker_queue, 0.0) + count / self.ONE_IN)

    def spend(self, broker_queue: str, count: int) -> None:
        """Count aged tasks that went first."""
        self._credit[broker_queue] -= count

    def quota(self, broker_queue: str, space: int) -> int:
        """Return how many aged tasks may go first now."""
        return min(int(self._credit.get(broker_queue, 0.0)), space) if conf.AGEING_SECONDS else 0

    @staticmethod
    def order(queue: str, top: int, waits: Mapping[PriorityLevel, float]) -> list[tuple[int, float]]:
        """List the lower priorities whose first task has aged up to ``top``, and for how long it must have been due.

        The highest effective priority comes first, and of equal ones the task that has been due for longest. This
        gives every task a fixed place: its ``run_at`` less ``AGEING_SECONDS`` per priority. The number of tasks before
        that place never grows, so none starves, whatever its priority.

        Parameters:
            top: the highest priority that is due in the band.
            waits: for how many seconds the first task of each level has been due.
        """
        step = conf.AGEING_SECONDS
        aged = [
            (-(priority + wait / step), -wait, priority)
            for priority in range(LOWEST, top)
            if (wait := waits.get(PriorityLevel(queue, priority), -inf)) >= (top - priority) * step
        ]
        return [(priority, (top - priority) * step) for _, _, priority in sorted(aged)]
