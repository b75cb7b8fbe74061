"""The health of an api process under gunicorn, for ``callboard healthcheck``."""

import time
from typing import Any

from tasks.contract import readiness
from tasks.telemetry.health import Health

#: gunicorn replaces a process whose loop stands still for its ``timeout``, which is 30 s; until then it is a fault.
STILL_SECONDS = 10.0


def serve(worker: Any) -> Health:
    """Answer health checks from an api process.

    Parameters:
        worker: gunicorn's; its loop leaves a sign of life in ``tmp`` once a second.
    """

    def faults() -> list[str]:
        stood = time.monotonic() - worker.tmp.last_update()
        return [f"the main loop has stood still for {stood:.0f} s"] if stood > STILL_SECONDS else []

    health = Health("api", components=readiness.state, needed=readiness.TO_ACCEPT_TASKS)
    health.serve()
    health.started(faults)
    return health
