"""Steps that threads repeat side by side until time is over."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tasks.errors import IllegalTransition, InvalidTask, NotFound

#: What a step may meet because another was quicker.
REFUSALS = (IllegalTransition, InvalidTask, NotFound)
SECONDS = float(os.environ.get("RACE_SECONDS", "3"))


class Repeated:
    """Counts what was done, by step.

    Attributes:
        did: how often each step was done, and how many were refused.
    """

    def __init__(self) -> None:
        self._until = time.monotonic() + SECONDS
        self.did: Counter[str] = Counter()

    def repeat(self, step: Callable[[random.Random], Any], *, seed: float) -> Callable[[], None]:
        """Make the work of a thread: one step, again and again."""
        chance = random.Random(seed)

        def run() -> None:
            while time.monotonic() < self._until:
                try:
                    step(chance)
                    self.did[step.__name__] += 1
                except REFUSALS:
                    self.did["refused"] += 1

        return run
