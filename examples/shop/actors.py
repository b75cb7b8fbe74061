"""The actors of the shop, which pretend to work for a moment. Release 2 had no rounding for Swiss francs."""

import time
from typing import Literal

import dramatiq

Currency = Literal["EUR", "USD", "CHF"]

#: Amounts are rounded to a multiple of so many cents.
ROUNDING: dict[str, int] = {"EUR": 1, "USD": 1, "CHF": 5}


@dramatiq.actor(queue_name="payments", default_priority=8, max_retries=2, min_backoff=5_000, max_backoff=20_000)
def charge_card(order: int, cents: int, currency: Currency) -> dict[str, int]:
    """Charge the card of an order."""
    time.sleep(0.2)
    step = ROUNDING[currency]
    return {"order": order, "charged": round(cents / step) * step}


@dramatiq.actor(queue_name="mail", max_retries=3, min_backoff=15_000)
def send_receipt(order: int, to: str) -> str:
    """Send the receipt of an order."""
    time.sleep(0.1)
    return f"receipt of order {order} sent to {to}"


@dramatiq.actor(queue_name="mail", default_priority=3)
def send_reminder(order: int, to: str) -> str:
    """Remind a customer of what is still in the basket."""
    time.sleep(0.1)
    return f"reminder of order {order} sent to {to}"


@dramatiq.actor
def resize_photo(photo: int, width: int) -> str:
    """Resize the photo of a product."""
    time.sleep(0.5)
    return f"photo-{photo}-{width}.webp"


@dramatiq.actor
def sync_stock(warehouse: str) -> int:
    """Read the stock of a warehouse; return how many products it has."""
    time.sleep(0.3)
    return 100 + len(warehouse)


@dramatiq.actor(default_priority=2, time_limit=600_000)
def build_report(name: str) -> str:
    """Build a report."""
    time.sleep(5)
    return f"{name}.csv"
