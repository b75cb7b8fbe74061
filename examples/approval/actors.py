"""The actor of the payment."""

from datetime import timedelta
from typing import Any

import dramatiq

from tasks import current


def reserve(amount: int) -> dict[str, Any]:
    """Reserve the money; a real one would call the bank with ``current.idempotency_key()``."""
    return {"reservation": f"R-{amount}"}


def pay(reservation: str) -> str:
    """Pay what is reserved."""
    return f"paid {reservation}"


@dramatiq.actor
def pay_invoice(number: str, amount: int, hours: float = 72, settle_seconds: float = 10) -> dict[str, Any]:
    """Reserve the money, wait for the approval, pay, and wait until the payment is settled."""
    reserved = current.step("reserve", reserve, amount)
    current.progress(1, 3, "reserved; waits for approval")
    try:
        decision = current.wait_for("approved", timeout=timedelta(hours=hours))
    except current.WaitTimedOut:
        current.give_up(f"nobody approved invoice {number}")
    receipt = current.step("pay", pay, reserved["reservation"])
    current.progress(2, 3, "paid; waits for settlement")
    current.sleep(seconds=settle_seconds)
    current.progress(3, 3, "settled")
    return {"invoice": number, "receipt": receipt, "decision": decision}
