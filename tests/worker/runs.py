"""Runs that have ended, and the outcomes that follow from them."""

from typing import Any

from tasks.lifecycle import Outcome
from tasks.models import new_id
from tasks.worker.execution import Execution
from tasks.worker.outcomes import outcome_of
from tests.actors import DEEDS
from tests.factories import imagine_claim

WORKER = new_id()


def ended(*, result: Any = None, error: BaseException | None = None, interrupt: Any = None, **claim: Any) -> Execution:
    """Make a run that ended like this."""
    execution = Execution(imagine_claim(**claim), claimed_monotonic=0.0)
    execution.started_monotonic, execution.finished_monotonic = 1.0, 2.0
    execution.result, execution.error, execution.is_captured = result, error, True
    execution.interrupts = [interrupt] if interrupt else []
    return execution


def decide(**fields: Any) -> Outcome:
    return outcome_of(ended(**fields), WORKER)


def deed(name: str, value: Any = None) -> BaseException:
    """Catch what a deed raises."""
    try:
        DEEDS[name](value)
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError(f"{name} raises nothing")
