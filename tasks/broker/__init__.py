"""How hints reach workers: Dramatiq's brokers as Callboard uses them, ``send()``, and wake-ups."""
