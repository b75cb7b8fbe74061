"""Failures: all that writes or resolves a dead letter counts it by cause, and nothing else does."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from dlq.models import DeadLetter, Failure, FailureDelta
from tasks import lifecycle
from tasks.errors import NotFound
from tasks.lifecycle import Author, workers
from tasks.models import Journal, Task, Worker
from tasks.states import DeathReason, Status
from tests.factories import age, failure, let_lease_run_out, make_task, make_worker, open_letter, start, submit

pytestmark = pytest.mark.django_db

TRACEBACK = 'Traceback (most recent call last):\n  File "/srv/shop.py", line 28, in settle\n    code()\nE: x\n'


def fold(lead: Any) -> None:
    lifecycle.fold_failures(**lead)
    assert not FailureDelta.objects.exists()


def counts() -> tuple[int, int]:
    """Read the open and total count of the only failure, with what is not added up yet."""
    found = Failure.objects.with_news().get()
    return found.count("open"), found.count("total")


def check() -> None:
    """Compare all counts with the dead letters."""
    for found in Failure.objects.with_news():
        assert found.count("open") == DeadLetter.objects.open().of_cause(found.pk).count()
        assert found.count("total") == DeadLetter.objects.of_cause(found.pk).count()


def die(worker: Worker, *, count: int = 1, **fields: Any) -> list[Task]:
    fields = {"death": DeathReason.NOT_RETRYABLE, "error_type": "KeyError", "error_message": "'x'", **fields}
    tasks = [submit(max_retries=0) for _ in range(count)]
    lifecycle.complete_many([failure(start(task, worker), worker, **fields) for task in tasks])
    return tasks


def die_of_age(worker: Worker, lead: Any) -> None:
    task = make_task(Status.PENDING, max_age_seconds=60)
    age(task, expires_at=timedelta(minutes=2))
    lifecycle.expire_many(**lead)


def die_of_crashes(worker: Worker, lead: Any) -> None:
    # Three workers are lost in turn under it; of the first, no crash is counted.
    task = submit(max_retries=0)
    for _ in range(10):
        task.refresh_from_db()
        if task.status == Status.DEAD:
            return
        victim = make_worker()
        Task.objects.filter(pk=task.pk).update(run_at=task.created_at)
        start(Task.objects.get(pk=task.pk), victim)
        let_lease_run_out(victim)
        workers.declare_silent_gone(**lead)
        lifecycle.rescue_lost(**lead)
    raise AssertionError("expected a crash loop")


def die_stuck(worker: Worker, lead: Any) -> None:
    task = submit(max_retries=0, time_limit_seconds=1)
    start(task, worker)
    age(task, started_at=timedelta(hours=2))
    lifecycle.rescue_stuck(**lead)


@pytest.mark.parametrize("way", [lambda worker, lead: die(worker), die_of_age, die_of_crashes, die_stuck])
def test_each_way_to_die_is_counted(worker, lead, way: Callable[..., Any]) -> None:
    way(worker, lead)
    letter = DeadLetter.objects.get()
    fold(lead)
    found = Failure.objects.get()
    assert (found.pk, found.actor, found.open, found.total) == (letter.fingerprint, "act", 1, 1)
    assert (found.error_type, found.error_message) == (letter.error_type, letter.error_message)
    assert found.task_id == letter.task_id
    assert found.first_seen_at == found.last_seen_at
    check()


def test_deaths_of_one_batch_cost_one_delta_for_each_cause(worker, lead) -> None:
    die(worker, count=3, traceback=TRACEBACK)
    die(worker, error_message="'y'")
    assert sorted(FailureDelta.objects.values_list("opened", "died")) == [(1, 1), (3, 3)]
    fold(lead)
    assert sorted(Failure.objects.values_list("open", "total", "frame")) == [
        (1, 1, ""),
        (3, 3, "/srv/shop.py:28 in settle"),
    ]


def test_tasks_that_do_not_die_cost_nothing(worker) -> None:
    make_task(Status.SUCCEEDED, worker=worker)
    make_task(Status.RETRYING, worker=worker)
    assert not FailureDelta.objects.exists()


@pytest.mark.parametrize(
    "resolve",
    [
        lambda letter: lifecycle.redrive(letter.pk),
        lambda letter: lifecycle.retry(letter.task_id),
        lambda letter: lifecycle.discard(letter.pk),
        lambda letter: lifecycle.delete(letter.task_id),
    ],
    ids=["redrive", "retry", "discard", "delete"],
)
@pytest.mark.parametrize("is_folded", [False, True])
def test_what_resolves_a_dead_letter_counts_it_down_once(worker, lead, resolve: Any, is_folded: bool) -> None:
    tasks = die(worker, count=2)
    fold(lead)
    resolve(open_letter(tasks[0]))
    if is_folded:
        fold(lead)
    assert counts() == (1, 2)
    check()


def test_a_second_life_that_dies_again_is_counted_again(worker, lead) -> None:
    (task,) = die(worker)
    lifecycle.redrive(open_letter(task).pk)
    lifecycle.fail(
        failure(start(Task.objects.get(pk=task.pk), worker), worker, error_type="KeyError", error_message="'x'",
                death=DeathReason.NOT_RETRYABLE)
    )  # fmt: skip
    fold(lead)
    assert counts() == (1, 2)
    check()


def test_a_redrive_may_be_added_up_before_its_death(worker, lead) -> None:
    (task,) = die(worker)
    lifecycle.redrive(open_letter(task).pk)
    died, _ = FailureDelta.objects.order_by("id")
    # As if the transaction that wrote it had committed later.
    FailureDelta.objects.filter(pk=died.pk).delete()
    fold(lead)
    assert Failure.objects.get().open == -1
    died.save(force_insert=True)
    fold(lead)
    found = Failure.objects.get()
    assert (found.open, found.total, found.actor) == (0, 1, "act")


def test_the_newest_death_is_the_sample(worker, lead) -> None:
    die(worker, error_message="'x'", traceback=TRACEBACK)
    fold(lead)
    first = Failure.objects.get()
    die(worker, error_message="'x'", traceback=TRACEBACK.replace("28", "31"))
    fold(lead)
    found = Failure.objects.get()
    assert found.frame == "/srv/shop.py:31 in settle"
    assert found.first_seen_at == first.first_seen_at < found.last_seen_at


def test_a_deposed_leader_adds_nothing_up(worker, lead) -> None:
    die(worker)
    assert lifecycle.fold_failures(lease=lead["lease"], term=lead["term"] - 1) == 0
    assert not Failure.objects.exists()
    assert lifecycle.recount_failures(lease=lead["lease"], term=lead["term"] - 1) == 0


def test_what_a_release_without_deltas_wrote_is_counted(worker, lead) -> None:
    die(worker, count=2)
    FailureDelta.objects.all().delete()
    assert lifecycle.recount_failures(**lead) == 1
    assert counts() == (2, 2)
    check()
    # With deltas that are not added up yet.
    die(worker)
    assert lifecycle.recount_failures(**lead) == 0
    fold(lead)
    assert lifecycle.recount_failures(**lead) == 0
    check()
    DeadLetter.objects.filter(pk=DeadLetter.objects.values_list("pk")[:1]).delete()
    assert lifecycle.recount_failures(**lead) == 1
    assert counts()[0] == 2


def test_people_look_after_a_failure_and_the_journal_says_who(worker, lead) -> None:
    die(worker)
    fold(lead)
    found = Failure.objects.get()
    lifecycle.look_after(found.pk, {"assignee": "olga", "note": "the PSP renamed the field"}, by=Author("olga"))
    found.refresh_from_db()
    assert (found.assignee, found.note, found.open) == ("olga", "the PSP renamed the field", 1)
    entry = Journal.objects.get()
    assert (entry.verb, entry.kind, entry.object_id, entry.by) == ("edit", "failure", found.pk, "olga")
    with pytest.raises(NotFound, match="no failure"):
        lifecycle.look_after("0" * 32, {"note": ""})


def test_old_failures_without_open_dead_letters_are_pruned(worker, lead) -> None:
    (task,) = die(worker)
    die(worker, error_message="'y'")
    fold(lead)
    Failure.objects.update(last_seen_at=F("last_seen_at") - timedelta(days=2))
    lifecycle.discard(open_letter(task).pk)
    assert lifecycle.prune_failures(keep_seconds=60, batch=10, **lead) == 0, "its discard is not added up"
    fold(lead)
    assert lifecycle.prune_failures(keep_seconds=60, batch=10, lease=lead["lease"], term=lead["term"] - 1) == 0
    assert lifecycle.prune_failures(keep_seconds=60, batch=10, **lead) == 1
    assert Failure.objects.get().error_message == "'y'"


def die_in(build: str, worker: Worker, lead: Any) -> Failure:
    die(worker, build=build)
    fold(lead)
    return Failure.objects.get()


def test_a_failure_keeps_the_first_and_the_last_build_in_which_a_task_died(worker, lead) -> None:
    die_in("a1", worker, lead)
    for build in ("b2", "c3"):
        die(worker, build=build)
    fold(lead)
    found = die_in("", worker, lead)
    assert (found.first_build, found.last_build, found.total) == ("a1", "c3", 4), "an unknown build says nothing"


def test_the_first_build_of_a_failure_from_before_builds_stays_unknown(worker, lead) -> None:
    die_in("", worker, lead)
    found = die_in("b2", worker, lead)
    assert (found.first_build, found.last_build) == ("", "b2")


def test_who_loses_its_worker_died_in_the_build_of_that_worker(lead) -> None:
    make_worker(build="other")
    task = submit(max_retries=0, time_limit_seconds=1)
    start(task, make_worker(build="a1"))
    age(task, started_at=timedelta(hours=2))
    lifecycle.rescue_stuck(**lead)
    fold(lead)
    assert Failure.objects.get().first_build == "a1"


def test_a_snooze_until_a_new_build_ends_with_a_death_in_one(lead) -> None:
    worker = make_worker(build="a1")
    make_worker(build="a2")
    found = die_in("a1", worker, lead)
    now = timezone.now()
    found = lifecycle.look_after(found.pk, {"snoozed_until_new_build": True})
    assert (found.snoozed_builds, found.is_snoozed(now=now)) == (["a1", "a2"], True)
    assert list(Failure.objects.snoozed(now=now)) == [found]
    assert not Failure.objects.awake(now=now)
    for build in ("a1", "a2", ""):
        assert die_in(build, worker, lead).is_snoozed(now=now), "both ran when it was snoozed"
    # The newest death of a fold may be one of the old build, which still runs beside the new one.
    die(worker, build="b2")
    assert not die_in("a1", worker, lead).is_snoozed(now=now)
    assert Failure.objects.awake(now=now).get().total == 6


def test_a_death_from_before_a_snooze_that_is_not_added_up_yet_does_not_end_it(lead) -> None:
    worker = make_worker(build="a1")
    found = die_in("a1", worker, lead)
    die(worker, build="b2")
    lifecycle.look_after(found.pk, {"snoozed_until_new_build": True})
    fold(lead)
    found.refresh_from_db()
    assert (found.last_build, found.snoozed_builds) == ("b2", ["a1", "b2"])


def test_another_failure_in_the_new_build_ends_no_snooze(lead) -> None:
    worker = make_worker(build="a1")
    found = die_in("a1", worker, lead)
    lifecycle.look_after(found.pk, {"snoozed_until_new_build": True})
    die(worker, build="b2", error_message="'y'")
    fold(lead)
    found.refresh_from_db()
    assert found.snoozed_builds == ["a1"]
    assert Failure.objects.awake(now=timezone.now()).get().error_message == "'y'"


def test_a_time_and_a_new_build_take_the_place_of_each_other(worker, lead) -> None:
    key = die_in("a1", worker, lead).pk
    later = timezone.now() + timedelta(hours=1)
    found = lifecycle.look_after(key, {"snoozed_until": later})
    found = lifecycle.look_after(key, {"snoozed_until_new_build": True})
    assert (found.snoozed_until, found.snoozed_builds) == (None, ["a1"])
    found = lifecycle.look_after(key, {"snoozed_until": later})
    assert (found.snoozed_until, found.snoozed_builds) == (later, None)
    found = lifecycle.look_after(key, {"snoozed_until_new_build": False})
    assert found.snoozed_until == later
    found = lifecycle.look_after(key, {"snoozed_until_new_build": True})
    found = lifecycle.look_after(key, {"note": "x"})
    assert found.snoozed_builds == ["a1"], "a note wakes nothing"
