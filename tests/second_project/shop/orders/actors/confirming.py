import dramatiq

from callboard import current


@dramatiq.actor(max_retries=1)
def confirm(order: int) -> str:
    """Confirm an order."""
    return f"order {order} confirmed in attempt {current.attempt()}"
