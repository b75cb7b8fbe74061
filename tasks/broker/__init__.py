"""What carries hints: Dramatiq's brokers as Callboard uses them, ``send()``, and wake-ups."""
