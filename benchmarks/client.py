"""A client in its own process: ``python -m benchmarks.client MODULE VERB COUNT``; prints its times as JSON.

Verbs: ``fill`` (as many tasks in a call as the contestant allows), ``single`` (one task in a call), ``hundreds`` (a
hundred in a call), ``mixed`` (a few long tasks among short ones), ``paced`` (fifty a second), ``urgent`` (the same at
the highest priority, numbered from 100,001), ``pairs`` (a parent and its child, ten times a second), ``fan-out``,
``fan-in`` and ``chain`` (tasks that depend on one another), ``fill-unique`` (each with a unique key), ``fill-batch``
(all in one batch), ``long-tasks`` (two that write so often), ``later`` (due evenly over five seconds, the first one in
three). The client boots, prints ``ready``, and starts after a line on its input.
"""

import importlib
import json
import sys
import time
from typing import Any

PACE_PER_SECOND = 50
PAIRS_PER_SECOND = 10
FIRST_URGENT = 100_000
FIRST_DUE_SECONDS, DUE_OVER_SECONDS = 3.0, 5.0


def main(module: str, verb: str, count: int) -> dict[str, Any]:
    """Submit the tasks; return when that began and ended and, by task, when it was submitted or is due."""
    contestant = importlib.import_module(module)
    contestant.submit(0)
    print("ready", flush=True)
    sys.stdin.readline()
    began, moments = time.time(), []
    match verb:
        case "fill":
            contestant.submit_many(range(1, count + 1))
        case "single":
            for number in range(1, count + 1):
                contestant.submit(number)
        case "hundreds":
            contestant.submit_many(range(1, count + 1), chunk=100)
        case "mixed":
            contestant.submit_mixed(range(1, count + 1))
        case "paced" | "urgent":
            submit = contestant.submit if verb == "paced" else contestant.submit_urgent
            for number in range(1, count + 1):
                time.sleep(max(0.0, began + number / PACE_PER_SECOND - time.time()))
                moments.append(time.time())
                submit(number if verb == "paced" else FIRST_URGENT + number)
        case "pairs":
            for number in range(1, count + 1):
                time.sleep(max(0.0, began + number / PAIRS_PER_SECOND - time.time()))
                contestant.submit_pair(2 * number - 1)
        case "fan-out" | "fan-in" | "chain":
            contestant.submit_workflow(verb, count)
        case "fill-unique":
            contestant.submit_unique(range(1, count + 1))
        case "fill-batch":
            contestant.submit_into_batch(range(1, count + 1))
        case "long-tasks":
            contestant.submit_long_tasks(count)
        case "later":
            for number in range(1, count + 1):
                due = began + FIRST_DUE_SECONDS + number / count * DUE_OVER_SECONDS
                moments.append(due)
                contestant.submit(number, delay_seconds=due - time.time())
    return {"began": began, "ended": time.time(), "moments": moments}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
