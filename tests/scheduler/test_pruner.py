"""The pruner: which rows it removes, which it keeps, and in which order."""

import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import F

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import workers
from tasks.models import Attempt, IdempotencyKey, Journal, Task, Term, Worker, new_id
from tasks.scheduler import pruner as module
from tasks.scheduler.pruner import LONGEST_PAUSE_SECONDS, PAUSE_TIMES, REST_SECONDS, Pruner
from tasks.states import Status
from tests.factories import age, database_now, make_lead, make_task, make_worker, open_letter, outcome, start
from tests.scheduler.stage import Leading, born_earlier

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def pruner(db, settings) -> Any:
    settings.KEEP_SUCCEEDED_SECONDS = 1 * 86_400
    settings.KEEP_CANCELLED_SECONDS = 10 * 86_400
    settings.KEEP_DEAD_SECONDS = 100 * 86_400
    return Pruner(Leading())  # type: ignore[arg-type]


def old_task(status: Status, days: float = 1000) -> Task:
    """Make a task that has been in a status for some time."""
    task = born_earlier(make_task(status), days * DAY)
    if task.is_final:
        age(task, finished_at=days * DAY)
    return task


def exists(task: Task) -> bool:
    return Task.objects.filter(pk=task.pk).exists()


def walk(pruner: Any) -> None:
    while pruner.step() != REST_SECONDS:
        pass


def discard(task: Task, *, days: float = 0) -> None:
    """Discard its dead letter so many days ago."""
    letter = open_letter(task)
    lifecycle.discard(letter.pk)
    DeadLetter.objects.filter(pk=letter.pk).update(resolved_at=F("resolved_at") - days * DAY)


@pytest.mark.parametrize(("status", "days"), [(Status.SUCCEEDED, 1), (Status.CANCELLED, 10), (Status.DEAD, 100)])
def test_each_final_status_is_kept_for_its_own_time(pruner, status: Status, days: int) -> None:
    young, old = old_task(status, days - 0.5), old_task(status, days + 0.5)
    for task in (young, old):
        if status is Status.DEAD:
            discard(task, days=1000)
    walk(pruner)
    assert (exists(young), exists(old)) == (True, False)


@pytest.mark.parametrize("status", [status for status in Status if status not in module.keep_seconds()])
def test_tasks_that_have_not_ended_stay_however_old(pruner, status: Status) -> None:
    task = old_task(status)
    walk(pruner)
    assert exists(task)


def test_it_counts_from_the_end_and_not_from_the_birth(pruner) -> None:
    task = born_earlier(make_task(Status.SUCCEEDED), 1000 * DAY)
    walk(pruner)
    assert exists(task)


def test_a_dead_task_stays_while_its_dead_letter_is_open(pruner) -> None:
    task = old_task(Status.DEAD)
    walk(pruner)
    assert exists(task)
    discard(task, days=1000)
    walk(pruner)
    assert not exists(task)


def test_a_dead_task_stays_as_long_after_a_discard_as_after_its_end(pruner) -> None:
    kept, gone = old_task(Status.DEAD), old_task(Status.DEAD)
    discard(kept, days=29)
    discard(gone, days=1000)
    walk(pruner)
    assert (exists(kept), exists(gone)) == (True, False)


def test_attempts_go_and_dead_letters_and_events_stay(pruner, settings) -> None:
    settings.KEEP_DEAD_LETTERS_SECONDS = 0
    task, other = old_task(Status.DEAD), make_task(Status.SUCCEEDED)
    discard(task, days=1000)
    walk(pruner)
    assert list(Attempt.objects.values_list("task_id", flat=True)) == [other.pk]
    assert DeadLetter.objects.get().task_id == task.pk
    assert Journal.objects.get(task_id=task.pk).verb == "discard"


def test_a_status_can_be_kept_for_ever(pruner, settings) -> None:
    settings.KEEP_SUCCEEDED_SECONDS = 0
    task = old_task(Status.SUCCEEDED)
    walk(pruner)
    assert exists(task)
    settings.KEEP_CANCELLED_SECONDS = settings.KEEP_DEAD_SECONDS = 0
    walk(pruner)
    assert exists(task)


def test_it_walks_a_batch_at_a_time_to_the_end_and_begins_again(pruner, monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    stays = [old_task(Status.PENDING) for _ in range(3)]
    goes = [old_task(Status.SUCCEEDED) for _ in range(2)]
    assert pruner.step() <= LONGEST_PAUSE_SECONDS
    assert [exists(task) for task in goes] == [True, True]
    assert pruner.step() <= LONGEST_PAUSE_SECONDS
    assert [exists(task) for task in goes] == [False, True]
    assert pruner.step() == REST_SECONDS
    assert [exists(task) for task in goes] == [False, False]
    lifecycle.cancel(stays[0].pk)
    age(stays[0], finished_at=1000 * DAY)
    walk(pruner)
    assert [exists(task) for task in stays] == [False, True, True]


def test_a_batch_removes_no_more_than_its_size(pruner, monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    for _ in range(5):
        old_task(Status.SUCCEEDED)
    left = []
    for _ in range(3):
        pruner.step()
        left.append(Task.objects.count())
    assert left == [3, 1, 0]


def test_a_follower_removes_nothing(pruner, django_assert_num_queries) -> None:
    task = old_task(Status.SUCCEEDED)
    pruner._leadership.term = None
    with django_assert_num_queries(0):
        pruner.step()
    assert exists(task)


def test_a_deposed_leader_that_does_not_know_it_removes_nothing(pruner) -> None:
    task = old_task(Status.SUCCEEDED)
    keep_key("k", -DAY)
    Term.objects.update(term=pruner._leadership.term + 1)
    pruner.step()
    assert exists(task)
    assert IdempotencyKey.objects.count() == 1


def keep_key(key: str, ends_in: timedelta) -> None:
    IdempotencyKey.objects.create(
        owner_id=0, key=key, request_hash="", task_ids=[], expires_at=database_now() + ends_in
    )


def test_keys_are_removed_when_their_time_is_over_whatever_happened_to_their_tasks(pruner) -> None:
    keep_key("over", -DAY)
    keep_key("valid", DAY)
    walk(pruner)
    assert [key.key for key in IdempotencyKey.objects.all()] == ["valid"]


def test_more_keys_than_a_batch_are_removed_without_a_rest(pruner, monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    for number in range(3):
        keep_key(str(number), -DAY)
    assert pruner.step() <= LONGEST_PAUSE_SECONDS
    assert pruner.step() == REST_SECONDS
    assert not IdempotencyKey.objects.exists()


def test_a_task_in_its_second_life_stays(pruner) -> None:
    task = old_task(Status.CANCELLED)
    lifecycle.retry(task.pk)
    walk(pruner)
    assert exists(task)
    worker = make_worker()
    task.refresh_from_db()
    lifecycle.succeed(outcome(start(task, worker), worker))
    walk(pruner)
    assert exists(task)


def gone_worker(days: float) -> Worker:
    worker = make_worker()
    workers.leave(worker.pk)
    Worker.objects.filter(pk=worker.pk).update(stopped_at=F("stopped_at") - days * DAY)
    return worker


def test_workers_that_ended_long_ago_are_forgotten(pruner) -> None:
    alive, young, old, holding = make_worker(), gone_worker(6), gone_worker(8), gone_worker(8)
    task = make_task(Status.RUNNING, worker=alive)
    Task.objects.filter(pk=task.pk).update(worker_id=holding.pk)
    walk(pruner)
    assert set(Worker.objects.values_list("pk", flat=True)) == {alive.pk, young.pk, holding.pk}, old.pk


def test_workers_may_be_kept_for_ever(pruner, settings) -> None:
    settings.KEEP_WORKERS_SECONDS = 0
    gone_worker(1000)
    walk(pruner)
    assert Worker.objects.count() == 1


def test_it_rests_for_as_long_as_it_took_and_more(pruner, monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH", 1)
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(module, "time", clock)
    for took, pause in ((0.01, PAUSE_TIMES * 0.01), (3.0, LONGEST_PAUSE_SECONDS)):
        old_task(Status.SUCCEEDED)
        monkeypatch.setattr(lifecycle, "prune_keys", lambda took=took, **_: setattr(clock, "now", clock.now + took))
        assert pruner.step() == pytest.approx(pause)


_MANY = """
INSERT INTO callboard_task (id, actor, payload, args, options, queue, priority, tags, status, dispatch, attempt,
                            finished_at, min_backoff_seconds, max_backoff_seconds, time_limit_seconds)
SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid, 'act', '{}', '[]', '{}', 'default', 5, '{}',
       'SUCCEEDED', 1, 1, statement_timestamp() - interval '10 days', 2, 3600, 300
FROM generate_series(1, %s) AS number
"""
_THEIR_ATTEMPTS = """
INSERT INTO callboard_attempt (task_id, number, outcome, worker_id, finished_at)
SELECT id, 1, 'SUCCEEDED', gen_random_uuid(), finished_at FROM callboard_task
"""


@pytest.mark.slow
def test_it_removes_more_than_the_engine_finishes(pruner) -> None:
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(_MANY, [20_000])
        cursor.execute(_THEIR_ATTEMPTS)
    insertion = time.monotonic() - began
    spent = 0.0
    while Task.objects.exists():
        began = time.monotonic()
        pause = pruner.step()
        spent += time.monotonic() - began + (0 if pause == REST_SECONDS else pause)
    assert not Attempt.objects.exists()
    # It takes three times as long as one statement that inserts all, which is faster than the engine can be; with a
    # fixed pause of 0.2 s for 500, ten times as long.
    assert spent < 6 * insertion


# --- Dead letters and histories ---


def old_letter(days: float, *, resolved: bool = True, task: bool = False) -> DeadLetter:
    dead = make_task(Status.DEAD)
    letter = open_letter(dead)
    if resolved:
        discard(dead)
    if not task:
        Task.objects.filter(pk=dead.pk).delete()
    DeadLetter.objects.filter(pk=letter.pk).update(died_at=F("died_at") - days * DAY)
    DeadLetter.objects.filter(pk=letter.pk, resolved_at__isnull=False).update(resolved_at=F("resolved_at") - days * DAY)
    return letter


def letters() -> set[Any]:
    return set(DeadLetter.objects.values_list("pk", flat=True))


def test_resolved_dead_letters_go_in_their_own_time_and_open_ones_stay(pruner, settings) -> None:
    settings.KEEP_DEAD_LETTERS_SECONDS = 90 * 86_400
    stay = {old_letter(89).pk, old_letter(1000, resolved=False).pk, old_letter(1000, task=True).pk}
    old_letter(91)
    walk(pruner)
    assert letters() == stay


def test_dead_letters_may_be_kept_for_ever(pruner, settings) -> None:
    settings.KEEP_DEAD_LETTERS_SECONDS = 0
    letter = old_letter(1000)
    walk(pruner)
    assert letters() == {letter.pk}


def test_open_dead_letters_are_discarded_only_if_a_setting_says_when(pruner, settings) -> None:
    young, old = old_letter(9, resolved=False, task=True), old_letter(11, resolved=False, task=True)
    settings.KEEP_OPEN_DEAD_LETTERS_SECONDS = 10 * 86_400
    walk(pruner)
    assert set(DeadLetter.objects.open()) == {young}
    assert Journal.objects.get(task_id=old.task_id).verb == "discard"
    # Its task is kept as if a person had discarded the dead letter.
    assert Task.objects.filter(pk=old.task_id).exists()


def test_more_dead_letters_than_a_batch_are_removed_without_a_rest(pruner, monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    for _ in range(5):
        old_letter(1000)
    walk(pruner)
    assert letters() == set()


def event(days: float) -> Journal:
    made = Journal.objects.create(task_id=new_id(), kind="task", verb="cancel")
    Journal.objects.filter(pk=made.pk).update(at=F("at") - days * DAY)
    return made


def admin_entry(days: float) -> LogEntry:
    user, _ = User.objects.get_or_create(username="olga")
    made = LogEntry.objects.create(user=user, action_flag=CHANGE, object_repr="x")
    LogEntry.objects.filter(pk=made.pk).update(action_time=database_now() - days * DAY)
    return made


def session(days: float) -> Session:
    return Session.objects.create(session_key=str(days), session_data="", expire_date=database_now() - days * DAY)


HISTORIES = [
    ("KEEP_JOURNAL_SECONDS", event),
    ("KEEP_ADMIN_LOG_SECONDS", admin_entry),
    ("KEEP_EXPIRED_SESSIONS_SECONDS", session),
]


@pytest.mark.parametrize(("setting", "make"), HISTORIES)
def test_each_history_is_kept_for_its_own_time(pruner, settings, monkeypatch, setting: str, make: Any) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    setattr(settings, setting, 10 * 86_400)
    for days in (14, 13, 12):
        make(days)
    young = make(9)
    walk(pruner)
    assert [one.pk for one in type(young)._default_manager.all()] == [young.pk]


@pytest.mark.parametrize(("setting", "make"), HISTORIES)
def test_each_history_may_be_kept_for_ever(pruner, settings, setting: str, make: Any) -> None:
    setattr(settings, setting, 0)
    old = make(10_000)
    walk(pruner)
    assert type(old)._default_manager.filter(pk=old.pk).exists()


def test_a_deposed_leader_removes_no_dead_letter_and_no_history(pruner, settings) -> None:
    settings.KEEP_OPEN_DEAD_LETTERS_SECONDS = 10
    kept = [event(10_000), admin_entry(10_000), session(10_000), old_letter(10_000), old_letter(10_000, resolved=False)]
    Term.objects.update(term=pruner._leadership.term + 1)
    walk(pruner)
    assert all(type(one)._default_manager.filter(pk=one.pk).exists() for one in kept)
    assert DeadLetter.objects.open().count() == 1


def test_a_deposed_leader_removes_no_worker(db) -> None:
    gone_worker(8)
    lead = make_lead()
    Term.objects.update(term=lead["term"] + 1)
    assert workers.forget_gone(older_than_seconds=1, **lead) == 0
