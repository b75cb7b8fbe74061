"""Completion callbacks of Dramatiq's groups: counted by rows, and submitted with the success of the last task."""

from dramatiq.middleware import GroupCallbacks, Middleware
from dramatiq.rate_limits import RateLimiterBackend


class _Barriers(RateLimiterBackend):
    """The part of a rate limiter's back end that a group needs: it makes a barrier when the group runs."""

    def add(self, key: str, value: int, ttl: int) -> bool:
        """Make a barrier for ``value`` tasks; ``ttl`` is in milliseconds."""
        # Not at the top: django-dramatiq builds the broker before Django has models.
        from tasks.lifecycle import barriers

        return barriers.add(key, parties=value, ttl_seconds=ttl / 1000)


class TaskGroups(GroupCallbacks):
    """Takes the place of Dramatiq's GroupCallbacks, so that ``group.run()`` finds it.

    Dramatiq counts when a function has returned. A task that is run again would be counted twice, and one that is not
    stored yet would be counted. Here lifecycle counts, in the transaction that stores the success.
    """

    def __init__(self) -> None:
        super().__init__(_Barriers())

    #: Dramatiq's hook that does nothing: the completer counts.
    after_process_message = Middleware.after_process_message
