"""Schedulers that fire the same schedules at the same moment, and operators in between."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import F

from tasks.lifecycle import fire, schedules
from tasks.models import Schedule, Task
from tasks.scheduler import cron as module
from tasks.scheduler.cron import Cron
from tests.factories import make_lead, make_schedule
from tests.scheduler.stage import Leading
from tests.waiting import wait_until

SCHEDULES, ROUNDS = 8, 5
INSERT = fire.insert


@pytest.fixture
def _nothing_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "all_declared", dict)


def _be_due() -> None:
    """Let a minute have passed for every schedule."""
    for one in Schedule.objects.all():
        created, until = one.created_at - timedelta(minutes=1), one.fired_until - timedelta(minutes=1)
        one.created_at, one.fired_until = created, until
        one.next_fire_at = one.timetable.after(until)
        one.save()


@pytest.mark.usefixtures("_nothing_declared")
def test_leaders_of_the_same_term_that_race_make_one_task_of_each_fire(race, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(SCHEDULES):
        make_schedule(f"s{number}", every_seconds=10.0, overlap="allow")
    make_lead()
    tried: list[tuple[UUID, datetime]] = []

    def insert(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        tried.extend((row["schedule_id"], row["scheduled_at"]) for row in rows)
        return INSERT(rows)

    monkeypatch.setattr(fire, "insert", insert)

    def step() -> None:
        leader = Cron(Leading())  # type: ignore[arg-type]
        leader.step()
        leader.step()

    for _ in range(ROUNDS):
        Task.objects.all().delete()
        tried.clear()
        _be_due()
        assert race.together(step, step, step) == [None] * 3
        found = Counter(Task.objects.values_list("schedule_id", flat=True))
        assert len(found) == SCHEDULES
        # A minute has passed for each, which is six fires, or seven with the one that came meanwhile.
        assert set(found.values()) <= {6, 7}
        # The index had nothing to refuse: the comparison alone left one of three.
        assert len(tried) == len(set(tried)) == found.total()


@pytest.mark.usefixtures("_nothing_declared")
def test_a_fire_waits_for_no_operator_and_follows_the_edit(race) -> None:
    schedule = make_schedule(every_seconds=10.0, overlap="allow")
    _be_due()
    leader = Cron(Leading())  # type: ignore[arg-type]
    race.while_open(lambda: schedules.pause(schedule.pk), leader.step)
    leader.step()
    assert not Task.objects.exists()


@pytest.mark.usefixtures("_nothing_declared")
def test_the_index_alone_keeps_a_fire_from_becoming_two_tasks(transactional_db) -> None:
    make_schedule(every_seconds=10.0, overlap="allow")
    _be_due()
    leader = Cron(Leading())  # type: ignore[arg-type]
    leader.step()
    before = Task.objects.count()
    assert before >= 6
    Schedule.objects.update(
        next_fire_at=F("next_fire_at") - timedelta(minutes=1), fired_until=F("fired_until") - timedelta(minutes=1)
    )
    leader.step()
    leader.step()
    assert Task.objects.count() == before
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisunique, indisvalid FROM pg_index WHERE indexrelid = 'task_fire_idx'::regclass")
        assert cursor.fetchone() == (True, True)


@pytest.mark.usefixtures("_nothing_declared")
def test_the_loop_runs_by_itself_and_ends(transactional_db) -> None:
    make_schedule(every_seconds=1.0, overlap="allow")
    make_lead()
    loop = Cron(Leading())  # type: ignore[arg-type]
    loop.start()
    wait_until(lambda: Task.objects.count() >= 2)
    loop.stop()
    assert not loop.is_alive
    first, second = [one.scheduled_at for one in Task.objects.order_by("scheduled_at")][:2]
    assert first
    assert second
    assert second - first == timedelta(seconds=1)
