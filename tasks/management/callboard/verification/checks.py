"""The checks of ``callboard verify``, one function each: they return what they saw, or raise Failed or Skipped.

Order and delays are read from the API's timestamps: the stack's clock counts, not that of this machine.
"""

import math
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from tasks.management.callboard.verification.client import Answer
from tasks.management.callboard.verification.trial import API, Failed, Skipped, Trial
from tasks.priority import HIGH, LOW, broker_queue
from tasks.states import AttemptOutcome, DeathReason, Resolution, Status, WorkerStatus

NEEDED_ACTORS = frozenset({"echo", "sleep", "demo_fail", "demo_hang"})
QUEUE = "default"

#: How late a due task may start, and how far the clocks of a database and a worker may be apart.
SLACK_SECONDS, CLOCK_SECONDS = 5.0, 0.2

# --- It answers, it runs --------------------------------------------------------------------------------------------


def answers(trial: Trial) -> str:
    """Check that every component is up, the token is valid and the built-in actors are there."""
    health = trial.client.call("GET", "/health")
    if health.status != 200:
        raise Failed(f"/health: {health.problem}")
    lacking = [f"{part}: {state}" for part, state in health.body["components"].items() if state != "ok"]
    if lacking:
        raise Failed(f"/health: {', '.join(lacking)}")
    missing = NEEDED_ACTORS - {actor["name"] for actor in trial.get("/actors")["results"]}
    if missing:
        raise Failed(f"no actor {', '.join(sorted(missing))}: start the stack with BUILTIN_ACTORS=true")
    return f"{trial.client.url} is ready"


def runs(trial: Trial) -> str:
    """Check that a task runs, and that its result can be read."""
    message = {"hello": "wörld", "n": [1, None, 2.5]}
    task = trial.finish(trial.submit("echo", {"message": message}))
    _expect_status(task, Status.SUCCEEDED)
    if task["result"] != message:
        raise Failed(f"expected the result {message}, got {task['result']}")
    seconds = _seconds_between(task["created_at"], task["finished_at"])
    return f"echo returned its message {seconds * 1000:.0f} ms after submission"


def cancels(trial: Trial) -> str:
    """Check that a waiting task can be cancelled, and does not run."""
    task = trial.submit("echo", {"message": 1}, delay_seconds=3600)
    trial.expect(200, trial.post(f"/tasks/{task['id']}/cancel"))
    task = trial.finish(task)
    _expect_status(task, Status.CANCELLED)
    if task["attempt"]:
        raise Failed(f"expected no claim of a task that was cancelled while it waited, got {task['attempt']}")
    return "a waiting task was cancelled"


# --- Priority -------------------------------------------------------------------------------------------------------

GROUP = 25
LOWEST_FIRST = (1, 8, 10)
#: Above 8, so that these tasks run before the compared ones, and below 10, which overtakes them.
SATURATION_PRIORITY = 9
SATURATION_SECONDS, COMPARED_SECONDS = 0.3, 0.1
MOST_SATURATION = 900
#: A share of the compared pairs. Some are in the wrong order by design: a worker with free threads takes what is there
#: while the next batch is on its way. Without any order, half of them would be, give or take 8 %.
MOST_WRONG = 0.25
LEAST_WAITING = 0.8
ROUNDS = 3


def orders(trial: Trial) -> str:
    """Check that tasks of a higher priority, submitted later, start earlier.

    All threads are kept busy first; then come tasks of priority 1, 8 and 10, in this order. Of each pair the
    task of the higher priority has to start first. If separate workers serve the low band, its tasks do not wait for
    the others; then only 8 and 10, of one band, are compared.
    """
    threads, is_low_apart = _capacity(trial)
    compared = [priority for priority in LOWEST_FIRST if priority > LOW.highest or not is_low_apart]
    saturation = min(max(24, 6 * threads), MOST_SATURATION)
    for _ in range(ROUNDS):
        groups = _start_groups(trial, saturation)
        waited = _share_that_waited(groups, compared)
        if waited >= LEAST_WAITING:
            return _judge(groups, compared)
        saturation = min(saturation * 4, MOST_SATURATION)
    raise Failed(
        f"only {waited:.0%} of the lower tasks waited while the higher ones were submitted; their order proves nothing"
    )


def _capacity(trial: Trial) -> tuple[int, bool]:
    """Tell how many threads serve the high band, and whether other workers serve the low band."""
    answer = trial.client.call("GET", f"{API}/workers?status={WorkerStatus.ALIVE}&limit=500")
    if answer.status != 200:
        return 0, False
    alive = answer.body["results"]
    high = [worker for worker in alive if {QUEUE, broker_queue(QUEUE, HIGH.name)} & set(worker["queues"])]
    low = [worker for worker in alive if {QUEUE, broker_queue(QUEUE, LOW.name)} & set(worker["queues"])]
    return sum(worker["threads"] for worker in high), any(worker not in high for worker in low)


def _start_groups(trial: Trial, saturation: int) -> dict[int, list[dict[str, Any]]]:
    """Submit the lowest priority first, and wait until all tasks have ended."""

    def group(priority: int, count: int, seconds: float) -> list[dict[str, Any]]:
        body = trial.body("sleep", {"duration": seconds}, priority=priority)
        return trial.submit_many([body] * count)

    busy = group(SATURATION_PRIORITY, saturation, SATURATION_SECONDS)
    groups = {priority: group(priority, GROUP, COMPARED_SECONDS) for priority in LOWEST_FIRST}
    ended = {priority: [trial.finish(task) for task in tasks] for priority, tasks in groups.items()}
    for task in (task for tasks in ended.values() for task in tasks):
        _expect_status(task, Status.SUCCEEDED)
    trial.finish(busy[-1])
    return ended


def _share_that_waited(groups: Mapping[int, Sequence[Mapping[str, Any]]], compared: Sequence[int]) -> float:
    """Tell which share of the lower groups had not started when the highest group was submitted."""
    submitted = max(_time(task["created_at"]) for task in groups[compared[-1]])
    lower = [task for priority in compared[:-1] for task in groups[priority]]
    return sum(_time(task["started_at"]) > submitted for task in lower) / len(lower)


def _judge(groups: Mapping[int, Sequence[Mapping[str, Any]]], compared: Sequence[int]) -> str:
    submitted = max(_time(task["created_at"]) for task in groups[compared[-1]])
    wrong = total = 0
    for lower, higher in ((a, b) for a in compared for b in compared if a < b):
        early = [_time(task["started_at"]) for task in groups[lower]]
        pairs = [(a, _time(task["started_at"])) for a in early if a > submitted for task in groups[higher]]
        wrong_here = sum(a < b for a, b in pairs)
        if wrong_here > MOST_WRONG * len(pairs):
            raise Failed(
                f"in {wrong_here} of {len(pairs)} pairs a task of priority {lower} started before one of {higher}"
            )
        wrong, total = wrong + wrong_here, total + len(pairs)
    names = ", ".join(str(priority) for priority in compared)
    apart = "" if len(compared) == len(LOWEST_FIRST) else "; other workers serve the low band"
    return f"submitted as {names}, started in the opposite order ({wrong} of {total} pairs did not){apart}"


# --- Retries and dead letters ---------------------------------------------------------------------------------------

MIN_BACKOFF_SECONDS = 1.0
RETRIES = 2


def retries(trial: Trial) -> str:
    """Check that a failing task is retried after doubling delays, and dies when no retry is left."""
    task = trial.finish(
        trial.submit("demo_fail", {"fail": True}, max_retries=RETRIES, min_backoff_seconds=MIN_BACKOFF_SECONDS)
    )
    _expect_status(task, Status.DEAD)
    attempts = trial.get(f"/tasks/{task['id']}/attempts")["results"]
    outcomes = [attempt["outcome"] for attempt in attempts]
    if outcomes != [AttemptOutcome.FAILED] * (RETRIES + 1):
        raise Failed(f"expected {RETRIES + 1} failed attempts, got {', '.join(outcomes) or 'none'}")
    delays = [_seconds_between(before["finished_at"], after["started_at"]) for before, after in pairwise(attempts)]
    for number, delay in enumerate(delays):
        _expect_delay(delay, backoff=MIN_BACKOFF_SECONDS * 2**number)
    return f"retried after {' and '.join(f'{delay:.1f} s' for delay in delays)}, then DEAD"


def _expect_delay(delay: float, *, backoff: float) -> None:
    lowest, highest = backoff - CLOCK_SECONDS, 1.25 * backoff + SLACK_SECONDS
    if not lowest <= delay <= highest:
        raise Failed(f"expected a retry after {backoff:g} to {1.25 * backoff:g} s, got {delay:.2f} s")


def redrives(trial: Trial) -> str:
    """Check that a death leaves one open dead letter, and that it can be re-driven once."""
    task = trial.finish(trial.submit("demo_fail", {"fail": True}, max_retries=0))
    _expect_status(task, Status.DEAD)
    (letter,) = _expect_dead_letters(trial, task, [Resolution.OPEN])
    if letter["reason"] != DeathReason.MAX_RETRIES_EXCEEDED:
        raise Failed(f"expected the reason {DeathReason.MAX_RETRIES_EXCEEDED}, got {letter['reason']}")
    trial.expect(200, trial.post(f"/dlq/{letter['id']}/redrive"))
    second = trial.until(
        lambda: next((new for new in trial.dead_letters(task) if new["id"] != letter["id"]), None),
        what=lambda: "the re-driven task, which fails again, has no second dead letter",
    )
    _expect_dead_letters(trial, task, [Resolution.OPEN, Resolution.REDRIVEN])
    trial.expect(409, trial.post(f"/dlq/{letter['id']}/redrive"))
    return f"re-driven, failed again in attempt {second['attempt']}; re-driving the old dead letter again is refused"


def _expect_dead_letters(trial: Trial, task: Mapping[str, Any], wanted: Sequence[Resolution]) -> list[dict[str, Any]]:
    letters = trial.dead_letters(task)
    names = [letter["resolution"] for letter in letters]
    if names != [resolution.name for resolution in wanted]:
        raise Failed(f"expected dead letters {[one.name for one in wanted]}, newest first, got {names}")
    return letters


# --- Idempotency and limits -----------------------------------------------------------------------------------------


def deduplicates(trial: Trial) -> str:
    """Check that the same key and body give the same task, and that another body is refused."""
    key = {"Idempotency-Key": f"{trial.tag}-{secrets.token_hex(8)}"}
    body = trial.body("echo", {"message": "once"})
    first = trial.post("/tasks", body, headers=key)
    if first.status == 400 and _is_not_supported(first):
        raise Skipped("not available: this stack does not support idempotency keys")
    task = trial.expect(201, first)
    again = trial.post("/tasks", body, headers=key)
    if trial.expect(200, again)["id"] != task["id"]:
        raise Failed(f"expected the task {task['id']} again, got {again.body['id']}")
    if again.headers.get("idempotency-replayed") != "true":
        raise Failed("expected the header Idempotency-Replayed: true on the second answer")
    trial.expect(422, trial.post("/tasks", {**body, "payload": {"message": "twice"}}, headers=key))
    return "one task for two equal submissions; another body with the same key is refused"


def _is_not_supported(answer: Answer) -> bool:
    return any(error["code"] == "not_supported" for error in answer.body.get("errors", []))


#: Emptying a larger bucket would be a load test.
MOST_UNITS = 1_000
TRIES = 10


def limits(trial: Trial) -> str:
    """Check that an empty bucket answers 429 with Retry-After, and that staff is exempt."""
    if trial.limited is None:
        raise Skipped("needs a token of a user who is not staff: give --user-token, or use the stack's DATABASE_URL")
    # These tasks never run.
    body = trial.body("echo", {"message": "limited"}, delay_seconds=3600)
    first = trial.post("/tasks", body, client=trial.limited)
    limit = first.headers.get("ratelimit-limit")
    if first.status == 201 and limit is None:
        raise Skipped("not available: this stack does not limit submissions")
    if int(limit or 0) > MOST_UNITS:
        raise Skipped(f"the limit is {limit} tasks at once, more than a check should submit")
    left = int(first.headers.get("ratelimit-remaining", 0))
    if left:
        trial.post("/tasks/bulk", {"tasks": [body] * left}, client=trial.limited)
    refused = _await_refusal(trial, body)
    wait = refused.headers.get("retry-after", "")
    if not wait.isdigit() or int(wait) < 1:
        raise Failed(f"expected Retry-After in seconds with the 429, got {wait!r}")
    trial.expect(201, trial.post("/tasks", body))
    return f"429 after {limit} tasks, Retry-After: {wait}; staff is exempt"


def _await_refusal(trial: Trial, body: Mapping[str, Any]) -> Answer:
    for _ in range(TRIES):
        # The bucket refills in the meantime, so the first tries may still be accepted.
        answer = trial.post("/tasks", body, client=trial.limited)
        if answer.status == 429:
            return answer
        trial.expect(201, answer)
    raise Failed(f"expected 429 once the bucket is empty, got 201 {TRIES} times")


# --- Shared parts ---------------------------------------------------------------------------------------------------


def _expect_status(task: Mapping[str, Any], status: Status) -> None:
    if task["status"] != status:
        raise Failed(f"expected a task of {task['actor']} to end as {status}, got {task['status']}: {task['error']}")


def _time(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else math.inf


def _seconds_between(before: str, after: str | None) -> float:
    return _time(after) - _time(before)
