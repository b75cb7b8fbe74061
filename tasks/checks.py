"""System checks: mistakes across settings, found by ``manage.py check`` and at every start."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def check_lease(**_: Any) -> list[CheckMessage]:
    """A worker needs more than one heartbeat within its lease, or one lost packet costs it its tasks."""
    if settings.WORKER_LEASE_SECONDS >= 2 * settings.HEARTBEAT_INTERVAL_SECONDS:
        return []
    return [
        Error(
            f"WORKER_LEASE_SECONDS is {settings.WORKER_LEASE_SECONDS:g}, less than two heartbeats of "
            f"{settings.HEARTBEAT_INTERVAL_SECONDS:g} s.",
            hint="Make the lease at least twice HEARTBEAT_INTERVAL_SECONDS; three times is the default.",
            id="tasks.E001",
        )
    ]


@register()
def check_submission_limit(**_: Any) -> list[CheckMessage]:
    """Buckets in memory are one process's own: with several, the limit would be a multiple of what it says."""
    if settings.REDIS_URL or settings.SUBMIT_RATE_LIMIT is None or settings.WEB_CONCURRENCY == 1:
        return []
    return [
        Error(
            f"SUBMIT_RATE_LIMIT needs Redis, because WEB_CONCURRENCY is {settings.WEB_CONCURRENCY}.",
            hint="Set REDIS_URL, or WEB_CONCURRENCY=1, or SUBMIT_RATE_LIMIT=0.",
            id="tasks.E002",
        )
    ]
