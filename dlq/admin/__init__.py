"""The control plane of deaths: admin pages of dead letters and of failures."""

from dlq.admin.dead_letter import DeadLetterAdmin
from dlq.admin.failure import FailureAdmin

__all__ = ["DeadLetterAdmin", "FailureAdmin"]
