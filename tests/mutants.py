"""Check that each guard has a test: ``make mutants`` removes the guards one by one and expects their tests to fail.

This is also the pytest plugin that removes a guard, in the process that runs the test.
"""

import importlib
import os
import subprocess
import sys
from typing import NamedTuple

VARIABLE = "MUTANT"


class Mutant(NamedTuple):
    """A guard in an SQL statement, the text that replaces it, and the test that notices."""

    guard: str
    statement: str
    text: str
    instead: str
    test: str


_LEAVES_LOCKED_ROWS = "races/test_lock_order.py::test_a_verb_of_the_engine_skips_a_locked_row_and_moves_the_rest"

MUTANTS = (
    Mutant(
        "attempt fence of a completion",
        "tasks.lifecycle.complete:_COMPLETE",
        "task.attempt = outcome.attempt",
        "true",
        "lifecycle/test_complete.py::test_an_older_attempt_changes_nothing",
    ),
    Mutant(
        "owner of a completion",
        "tasks.lifecycle.complete:_COMPLETE",
        "task.worker_id = outcome.worker",
        "true",
        "lifecycle/test_complete.py::test_another_worker_changes_nothing",
    ),
    Mutant(
        "attempt fence of a put-back",
        "tasks.lifecycle.put_back:_PUT_BACK",
        "task.attempt = held.attempt",
        "true",
        "lifecycle/test_put_back.py::test_an_old_attempt_or_another_worker_puts_nothing_back",
    ),
    Mutant(
        "dispatch guard of a claim",
        "tasks.lifecycle.claim:_CLAIM",
        "task.dispatch = hint.dispatch",
        "true",
        "lifecycle/test_claim.py::test_a_hint_of_another_hand_over_claims_nothing",
    ),
    Mutant(
        "dispatch guard of a requeue",
        "tasks.lifecycle.requeue:_REQUEUE",
        "task.dispatch = hint.dispatch",
        "true",
        "lifecycle/test_requeue.py::test_a_requeue_for_an_older_hand_over_changes_nothing",
    ),
    Mutant(
        "worker lease guard of a claim",
        "tasks.lifecycle.claim:_CLAIM",
        "worker.lease_expires_at > statement_timestamp()",
        "true",
        "lifecycle/test_claim.py::test_a_worker_whose_lease_is_over_claims_nothing",
    ),
    Mutant(
        "term fence of a dispatch",
        "tasks.lifecycle.dispatch:_DISPATCH",
        "EXISTS (SELECT FROM lead)",
        "true",
        "lifecycle/test_dispatch.py::test_a_deposed_leader_dispatches_nothing",
    ),
    Mutant(
        "lane of a dispatch",
        "tasks.lifecycle.dispatch:_DISPATCH",
        "task.lane = probe.lane",
        "true",
        "scheduler/test_lanes.py::test_a_lane_is_offered_its_own_tasks",
    ),
    Mutant(
        "term fence of a rescue",
        "tasks.lifecycle.rescue:_RESCUE_LOST",
        "EXISTS (SELECT FROM lead)",
        "true",
        "lifecycle/test_rescue.py::test_a_deposed_leader_rescues_nothing",
    ),
    Mutant(
        "term fence of a batch's end",
        "tasks.lifecycle.batch_steps:_DUE",
        "EXISTS (SELECT FROM lead)",
        "true",
        "lifecycle/test_batch_steps.py::test_an_old_leader_changes_nothing",
    ),
    Mutant(
        "term fence of the children of batches",
        "tasks.lifecycle.release:_LINK_TO_BATCHES",
        "EXISTS (SELECT FROM lead)",
        "true",
        "lifecycle/test_children_of_batches.py::test_an_old_leader_tells_nobody",
    ),
    Mutant(
        "lock of submissions that may close a circle",
        "tasks.lifecycle.circles:_LOCK",
        "pg_advisory_xact_lock(hashtext('callboard circles'))",
        "1",
        "races/test_batches.py::test_two_halves_of_a_circle_are_not_submitted_side_by_side",
    ),
    Mutant(
        "guard of closed batches",
        "tasks.lifecycle.tally:_JOIN",
        "batch.status = 'OPEN'",
        "true",
        "lifecycle/test_batches.py::test_an_open_batch_takes_tasks_until_it_is_closed",
    ),
    Mutant(
        "lock of a batch that is submitted into",
        "tasks.lifecycle.tally:_JOIN",
        "FOR KEY SHARE OF batch",
        "",
        "races/test_batches.py::test_a_submission_that_waits_for_the_close_is_refused",
    ),
    Mutant(
        "skip of locked rows in a completion",
        "tasks.lifecycle.complete:_COMPLETE",
        "SKIP LOCKED",
        "",
        f"{_LEAVES_LOCKED_ROWS}[complete]",
    ),
    Mutant(
        "skip of locked rows in a put-back",
        "tasks.lifecycle.put_back:_PUT_BACK",
        "SKIP LOCKED",
        "",
        f"{_LEAVES_LOCKED_ROWS}[put back]",
    ),
    Mutant(
        "count of losses in a row",
        "tasks.lifecycle.rescue:_LOST",
        "last.outcome = 'LOST' AND",
        "false AND",
        "lifecycle/test_rescue.py::test_a_lost_worker_counts_a_crash_only_if_the_attempt_before_was_lost_too",
    ),
    Mutant(
        "pardon of runs that had ended",
        "tasks.lifecycle.rescue:_LOST",
        "worker.crash -> 'ended' ? named.key",
        "false",
        "lifecycle/test_rescue.py::test_a_run_that_had_ended_unwritten_never_counts_a_crash",
    ),
    Mutant(
        "attempt fence of a checkpoint",
        "tasks.lifecycle.checkpoint:_SAVE",
        "task.attempt = holder.attempt",
        "true",
        "lifecycle/test_held_writes.py::test_an_older_attempt_keeps_nothing[save]",
    ),
    Mutant(
        "owner of a step",
        "tasks.lifecycle.steps:_KEEP",
        "task.worker_id = %(worker)s",
        "%(worker)s IS NOT NULL",
        "lifecycle/test_held_writes.py::test_another_worker_keeps_nothing[keep]",
    ),
    Mutant(
        "lock of a step",
        "tasks.lifecycle.steps:_KEEP",
        "FOR SHARE OF task",
        "",
        "races/test_steps.py::test_a_rescue_waits_for_a_write_that_has_begun[keep]",
    ),
    Mutant(
        "term of a fire",
        "tasks.lifecycle.fire:_HOLD",
        "EXISTS (SELECT FROM lead)",
        "true",
        "scheduler/test_cron.py::test_a_deposed_leader_that_does_not_know_it_fires_nothing",
    ),
    Mutant(
        "version of a schedule that fires",
        "tasks.lifecycle.fire:_HOLD",
        "schedule.version = decided.version",
        "true",
        "scheduler/test_cron.py::test_nothing_is_cancelled_for_a_fire_that_was_decided_before_an_edit",
    ),
    Mutant(
        "pause of a schedule that fires",
        "tasks.lifecycle.fire:_HOLD",
        "schedule.paused_at IS NULL",
        "true",
        "scheduler/test_cron.py::test_a_decision_from_before_a_pause_fires_nothing",
    ),
    Mutant(
        "fire that a decision was made from",
        "tasks.lifecycle.fire:_HOLD",
        "schedule.next_fire_at IS NOT DISTINCT FROM decided.next_was",
        "true",
        "scheduler/test_cron.py::test_a_decision_from_a_schedule_that_has_moved_on_does_nothing[next_fire_at]",
    ),
    Mutant(
        "kept fire that a decision was made from",
        "tasks.lifecycle.fire:_HOLD",
        "schedule.buffered_fire_at IS NOT DISTINCT FROM decided.buffered_was",
        "true",
        "scheduler/test_cron.py::test_a_decision_from_a_schedule_that_has_moved_on_does_nothing[buffered_fire_at]",
    ),
    Mutant(
        "backfill that a decision was made from",
        "tasks.lifecycle.fire:_HOLD",
        "schedule.backfill_from IS NOT DISTINCT FROM decided.backfill_was",
        "true",
        "scheduler/test_cron.py::test_a_decision_from_a_schedule_that_has_moved_on_does_nothing[backfill_from]",
    ),
    Mutant(
        "dead task of a restore",
        "tasks.lifecycle.rows:_LOCK_DEAD",
        "task.status = 'DEAD'",
        "true",
        "lifecycle/test_restore.py::test_a_letter_of_a_task_that_is_not_dead_is_not_restored",
    ),
    Mutant(
        "later death of a restore",
        "tasks.lifecycle.restore:_RESTORE",
        "(other.id > letter.id OR other.resolution = %(open)s)",
        "false",
        "lifecycle/test_restore.py::test_only_the_last_death_of_a_task_is_restored",
    ),
    Mutant(
        "retention of a restore",
        "tasks.lifecycle.restore:_RESTORE",
        "letter.resolved_at > statement_timestamp()",
        "letter.resolved_at > statement_timestamp() - interval '1 day'",
        "lifecycle/test_restore.py::test_what_the_pruner_may_be_removing_is_not_restored",
    ),
    Mutant(
        "one look at a time for a deploy",
        "tasks.lifecycle.workers:_REGISTER",
        "SELECT pg_advisory_xact_lock(hashtext('callboard deploy'));",
        "",
        "races/test_deploys.py::test_a_worker_that_starts_beside_the_first_of_its_build_is_no_deploy",
    ),
    Mutant(
        "builds that a snooze knows",
        "tasks.lifecycle.failures:_FOLD",
        "folded.build <> ALL (failure.snoozed_builds)",
        "true",
        "lifecycle/test_failures.py::test_a_snooze_until_a_new_build_ends_with_a_death_in_one",
    ),
)


def main() -> int:
    """Try every mutant; return 0 if each was noticed by its test."""
    # Starts the servers once; all runs find them in the environment.
    importlib.import_module("tests.embedded")
    missed = [mutant for mutant in MUTANTS if not _is_noticed(mutant)]
    for mutant in missed:
        sys.stderr.write(f"no test noticed that the {mutant.guard} was gone; {mutant.test} should have\n")
    return 1 if missed else 0


def _is_noticed(mutant: Mutant) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.mutants", f"tests/{mutant.test}"]
    environment = {**os.environ, VARIABLE: mutant.guard}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    # Not just any exit code: a test that could not be set up has noticed nothing.
    summary = run.stdout.splitlines()[-1]
    is_noticed = run.returncode == 1 and " failed" in summary and " error" not in summary
    if not is_noticed:
        sys.stderr.write(run.stdout[-2000:] + run.stderr[-2000:])
    sys.stdout.write(f"without the {mutant.guard}: {'noticed' if is_noticed else 'not noticed'}\n")
    sys.stdout.flush()
    return is_noticed


def pytest_sessionstart() -> None:
    """Remove the guard that the environment names; Django is set up by now."""
    name = os.environ.get(VARIABLE)
    if name is None:
        return
    mutant = next(one for one in MUTANTS if one.guard == name)
    module_name, _, constant = mutant.statement.partition(":")
    module = importlib.import_module(module_name)
    statement: str = getattr(module, constant)
    assert statement.count(mutant.text) == 1, f"{mutant.statement} has no {mutant.text!r}, or more than one"
    setattr(module, constant, statement.replace(mutant.text, mutant.instead))


if __name__ == "__main__":
    sys.exit(main())
