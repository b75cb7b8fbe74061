"""Settlement: whether what others wait for is known to them as what it is."""

from collections.abc import Collection

from django.db.models import F, Q


def is_unsettled(final: Collection[str]) -> Q:
    """Select parents whose status is not what their edges were last settled by; the condition of a partial index.

    Whatever verb moves such a row, it then enters the index. CHECK is no status, so work that was cut short cannot look
    done when a second life ends as the first did.

    Parameters:
        final: the statuses of a parent that has ended.
    """
    return Q(settled_as="WAITING", status__in=sorted(final)) | (
        Q(settled_as__in=sorted({"CHECK", *final})) & (Q(settled_as__lt=F("status")) | Q(settled_as__gt=F("status")))
    )
