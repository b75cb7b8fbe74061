"""The cron loop: one task for each fire, through outages, steps of the clock, overlaps and failures."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import F

from tasks import timetable
from tasks.db import clock as clock_module
from tasks.lifecycle import fire as fire_module
from tasks.lifecycle import schedules
from tasks.lifecycle.fire import Decision, fire_many, realign
from tasks.models import Journal, Schedule, Task, Term
from tasks.scheduler import cron as module
from tasks.scheduler.cron import Cron
from tasks.scheduler.fires import BACKFILL_AT_ONCE, MOST_AT_ONCE
from tasks.states import Status
from tests.factories import bring, make_lead, make_schedule
from tests.scheduler.stage import Clocks, Leading

pytestmark = pytest.mark.django_db

HOUR = 3600


@pytest.fixture
def clocks(db, monkeypatch) -> Clocks:
    made = Clocks()
    for one in (clock_module, module):
        monkeypatch.setattr(one, "time", made)
    return made


@pytest.fixture
def cron(clocks, monkeypatch) -> Cron:
    monkeypatch.setattr(module, "all_declared", dict)
    loop = Cron(Leading())  # type: ignore[arg-type]
    loop.step()
    return loop


def fires(schedule: Schedule) -> list[datetime]:
    rows = Task.objects.filter(schedule_id=schedule.pk, scheduled_at__isnull=False).order_by("scheduled_at")
    return [one.scheduled_at for one in rows if one.scheduled_at]


def settle(cron: Cron, clocks: Clocks, *, rounds: int = 1) -> None:
    """Do rounds, a second apart."""
    for _ in range(rounds):
        cron.step()
        clocks.go_on(1)


def reach(clocks: Clocks, schedule: Schedule) -> None:
    """Let the clocks reach the next fire of a schedule."""
    schedule.refresh_from_db()
    assert schedule.next_fire_at is not None
    clocks.go_on((schedule.next_fire_at - Clocks.now()).total_seconds() + 0.1)


def finish(schedule: Schedule, status: Status = Status.SUCCEEDED) -> None:
    """End all tasks of a schedule that have not ended."""
    for task in Task.objects.filter(schedule_id=schedule.pk, status=Status.PENDING).order_by("id"):
        bring(task, status)


def hours(schedule: Schedule) -> set[timedelta]:
    found = fires(schedule)
    return {later - earlier for earlier, later in pairwise(found)}


def test_a_fire_becomes_one_task_at_its_time_and_the_next_fire_is_known(cron, clocks) -> None:
    schedule = make_schedule()
    first = schedule.next_fire_at
    settle(cron, clocks)
    assert fires(schedule) == []
    clocks.go_on(HOUR)
    settle(cron, clocks, rounds=3)
    assert fires(schedule) == [first]
    schedule.refresh_from_db()
    task = Task.objects.get(schedule_id=schedule.pk)
    assert first is not None
    assert (schedule.last_fire_at, schedule.next_fire_at) == (first, first + timedelta(hours=1))
    assert (schedule.last_task_id, schedule.missed, schedule.skipped) == (task.pk, 0, 0)
    assert datetime.fromisoformat(task.options["scheduled_at"]) == first
    assert task.status == Status.PENDING


def test_fires_go_on_hour_after_hour(cron, clocks) -> None:
    schedule = make_schedule()
    for _ in range(5):
        reach(clocks, schedule)
        settle(cron, clocks)
        finish(schedule)
    assert len(fires(schedule)) == 5
    assert hours(schedule) == {timedelta(hours=1)}


def test_a_follower_fires_nothing(cron, clocks) -> None:
    schedule = make_schedule()
    clocks.go_on(HOUR)
    cron._leadership.term = None
    settle(cron, clocks)
    assert fires(schedule) == []


def test_a_deposed_leader_that_does_not_know_it_fires_nothing(cron, clocks) -> None:
    schedule = make_schedule(every_seconds=60.0)
    clocks.go_on(HOUR)
    Term.objects.update(term=F("term") + 1)
    settle(cron, clocks)
    schedule.refresh_from_db()
    assert (fires(schedule), schedule.last_fire_at) == ([], None)


def test_after_a_leader_change_nothing_is_missed_and_nothing_doubled(cron, clocks) -> None:
    schedule = make_schedule(every_seconds=1.0, overlap="allow")
    settle(cron, clocks, rounds=5)
    clocks.go_on(10)
    Term.objects.update(term=F("term") + 1)
    settle(cron, clocks)
    successor = Cron(Leading())  # type: ignore[arg-type]
    settle(successor, clocks, rounds=5)
    found = fires(schedule)
    assert len(found) >= 19
    assert hours(schedule) == {timedelta(seconds=1)}


@pytest.mark.parametrize(("catch_up", "expected", "missed"), [("none", 0, 10), ("last", 1, 9), ("all", 10, 0)])
def test_after_an_hour_without_a_scheduler_it_catches_up_as_it_says(
    cron, clocks, catch_up: str, expected: int, missed: int
) -> None:
    # Every 6 minutes, and never within the minute in which a fire still counts as in time.
    schedule = make_schedule(every_seconds=360.0, catch_up=catch_up, overlap="allow")
    clocks.go_on(HOUR + 120)
    settle(cron, clocks, rounds=4)
    schedule.refresh_from_db()
    assert (len(fires(schedule)), schedule.missed) == (expected, missed)
    assert schedule.next_fire_at == schedule.created_at + timedelta(seconds=11 * 360)
    if catch_up == "last":
        assert fires(schedule) == [schedule.created_at + timedelta(seconds=3600)]


def test_catching_up_heeds_the_window(cron, clocks) -> None:
    schedule = make_schedule(catch_up="all", overlap="allow", catch_up_window_seconds=3 * HOUR)
    clocks.go_on(24 * HOUR)
    settle(cron, clocks, rounds=3)
    assert len(fires(schedule)) == 3


def test_what_is_older_than_the_window_alone_is_left_out(cron, clocks) -> None:
    schedule = make_schedule(cron="0 0 1 1 *", catch_up="all", catch_up_window_seconds=HOUR)
    Schedule.objects.update(next_fire_at=F("created_at") - timedelta(days=30))
    settle(cron, clocks, rounds=3)
    schedule.refresh_from_db()
    assert fires(schedule) == []
    assert schedule.next_fire_at is not None
    assert schedule.next_fire_at > schedule.created_at


def test_a_million_missed_fires_are_worked_off_in_bounded_rounds(cron, clocks) -> None:
    schedule = make_schedule(every_seconds=1.0, catch_up="last", catch_up_window_seconds=4 * HOUR, overlap="allow")
    clocks.go_on(12 * 24 * HOUR)
    settle(cron, clocks, rounds=6)
    found = fires(schedule)
    assert 60 <= len(found) <= 68
    assert hours(schedule) == {timedelta(seconds=1)}


def test_catching_up_all_is_throttled_and_complete(cron, clocks) -> None:
    schedule = make_schedule(every_seconds=20.0, catch_up="all", overlap="allow")
    clocks.go_on(2 * HOUR)
    cron.step()
    assert len(fires(schedule)) == MOST_AT_ONCE
    settle(cron, clocks, rounds=5)
    assert len(fires(schedule)) == 360
    assert hours(schedule) == {timedelta(seconds=20)}


def test_missed_fires_run_one_after_another_if_tasks_must_not_overlap(cron, clocks) -> None:
    schedule = make_schedule(every_seconds=1200.0, catch_up="all", overlap="skip")
    clocks.go_on(HOUR + 120)
    for expected in (1, 2, 3, 3):
        settle(cron, clocks, rounds=3)
        assert len(fires(schedule)) == expected
        finish(schedule)
    assert hours(schedule) == {timedelta(seconds=1200)}


@pytest.mark.parametrize("overlap", ["skip", "allow", "buffer_one", "cancel_running"])
def test_a_fire_while_the_last_task_runs(cron, clocks, overlap: str) -> None:
    schedule = make_schedule(overlap=overlap)
    reach(clocks, schedule)
    settle(cron, clocks)
    first = Task.objects.get()
    bring(first, Status.RUNNING)
    reach(clocks, schedule)
    settle(cron, clocks, rounds=3)
    first.refresh_from_db()
    schedule.refresh_from_db()
    assert len(fires(schedule)) == {"skip": 1, "allow": 2, "buffer_one": 1, "cancel_running": 2}[overlap]
    assert schedule.skipped == (1 if overlap == "skip" else 0)
    assert (schedule.buffered_fire_at is not None) == (overlap == "buffer_one")
    assert (first.cancel_requested_at is not None) == (overlap == "cancel_running")
    if overlap == "cancel_running":
        entry = Journal.objects.get(verb="cancel")
        assert (entry.door, entry.reason) == ("scheduler", "its schedule fired again")


def test_a_kept_fire_runs_when_the_task_has_ended_and_only_one_is_kept(cron, clocks) -> None:
    schedule = make_schedule(overlap="buffer_one")
    for _ in range(4):
        reach(clocks, schedule)
        settle(cron, clocks)
    schedule.refresh_from_db()
    assert (len(fires(schedule)), schedule.skipped) == (1, 2)
    finish(schedule)
    settle(cron, clocks, rounds=3)
    schedule.refresh_from_db()
    assert (len(fires(schedule)), schedule.buffered_fire_at) == (2, None)
    assert hours(schedule) == {timedelta(hours=1)}


def test_nothing_is_cancelled_for_a_fire_that_was_decided_before_an_edit(cron, clocks) -> None:
    schedule = make_schedule(overlap="cancel_running")
    clocks.go_on(HOUR)
    settle(cron, clocks)
    schedule.refresh_from_db()
    stale = Decision(
        schedule=Schedule.objects.get(), fires=[schedule.created_at], is_cancelling=True,
        fired_until=schedule.created_at, next_fire_at=None,
    )  # fmt: skip
    schedules.edit(schedule.pk, {"jitter_seconds": 1.0})
    assert fire_many([stale], **make_lead()).moves == []
    assert Task.objects.get().status == Status.PENDING


def test_a_decision_from_before_a_pause_fires_nothing(cron, clocks) -> None:
    schedule = make_schedule()
    schedules.pause(schedule.pk)
    stale = Decision(schedule=schedule, fires=[schedule.created_at], fired_until=schedule.created_at, next_fire_at=None)
    assert fire_many([stale], **make_lead()).moves == []
    assert not Task.objects.exists()


@pytest.mark.parametrize("moved", ["next_fire_at", "buffered_fire_at", "backfill_from"])
def test_a_decision_from_a_schedule_that_has_moved_on_does_nothing(cron, clocks, moved: str) -> None:
    make_schedule()
    read = Schedule.objects.get()
    later = read.created_at + timedelta(days=1)
    Schedule.objects.update(**{moved: later}, backfill_until=later if moved == "backfill_from" else None)
    before = Schedule.objects.values().get()
    stale = Decision(schedule=read, fires=[later], fired_until=later, next_fire_at=None)
    assert fire_many([stale], **make_lead()).moves == []
    assert (Schedule.objects.values().get(), Task.objects.count()) == (before, 0)


def test_a_batch_of_broken_schedules_holds_up_no_other(cron, clocks, monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    for name in ("a", "b", "c"):
        make_schedule(name)
    Schedule.objects.update(actor="of_another_release")
    healthy = make_schedule("healthy", cron="1 * * * *")
    clocks.go_on(HOUR + 120)
    for _ in range(3):
        cron.step()
    assert len(fires(healthy)) >= 1


def test_a_kept_fire_outlives_a_long_outage_too(cron, clocks) -> None:
    schedule = make_schedule(cron="0 0 1 1 *", overlap="buffer_one", catch_up_window_seconds=HOUR)
    kept = schedule.created_at - timedelta(days=30)
    Schedule.objects.update(next_fire_at=kept, buffered_fire_at=kept - timedelta(days=1))
    settle(cron, clocks, rounds=3)
    assert fires(schedule) == [kept - timedelta(days=1)]


def test_jitter_delays_the_start_and_not_the_fire_and_is_the_same_each_time(cron, clocks) -> None:
    schedule = make_schedule(jitter_seconds=600.0)
    reach(clocks, schedule)
    settle(cron, clocks)
    task = Task.objects.get()
    delay = task.run_at - fires(schedule)[0]
    assert timedelta(0) <= delay <= timedelta(seconds=600)
    assert delay == schedule.delayed(fires(schedule)[0]) - fires(schedule)[0]
    delays = {schedule.delayed(fires(schedule)[0] + timedelta(hours=n)) for n in range(50)}
    assert len(delays) == 50


def test_the_payload_gets_to_know_the_fire(cron, clocks) -> None:
    payload = {
        "do": "return",
        "value": {"at": ["{scheduled_at}"], "day": "report-{scheduled_date}.csv", "as is": "{x}"},
    }
    make_schedule(payload=payload, timezone="Asia/Kolkata", cron="30 * * * *")
    clocks.go_on(HOUR)
    settle(cron, clocks)
    task = Task.objects.get()
    assert task.scheduled_at is not None
    value = task.payload["value"]
    assert datetime.fromisoformat(value["at"][0]) == task.scheduled_at
    assert value["at"][0].endswith("+05:30")
    assert value["day"] == f"report-{value['at'][0][:10]}.csv"
    assert value["as is"] == "{x}"


def test_a_step_of_the_clock_forward_is_caught_up_as_an_outage(cron, clocks) -> None:
    schedule = make_schedule(overlap="allow", catch_up="all")
    settle(cron, clocks)
    clocks.step(3 * HOUR)
    settle(cron, clocks, rounds=2)
    assert len(fires(schedule)) == 3


def test_a_step_of_the_clock_back_leaves_no_fire_out_and_doubles_none(cron, clocks) -> None:
    schedule = make_schedule(overlap="allow")
    settle(cron, clocks)
    clocks.step(5 * HOUR)
    settle(cron, clocks, rounds=2)
    before = fires(schedule)
    clocks.step(-5 * HOUR)
    settle(cron, clocks, rounds=2)
    schedule.refresh_from_db()
    assert schedule.next_fire_at == schedule.timetable.after(schedule.created_at)
    for _ in range(8):
        clocks.go_on(HOUR)
        settle(cron, clocks)
    after = fires(schedule)
    assert {*before} <= {*after}
    assert len(after) == 8
    assert hours(schedule) == {timedelta(hours=1)}


def test_a_step_back_over_a_fire_that_has_its_task_makes_no_other(cron, clocks) -> None:
    schedule = make_schedule(overlap="allow")
    reach(clocks, schedule)
    settle(cron, clocks)
    task = Task.objects.get()
    clocks.step(-HOUR / 2)
    settle(cron, clocks)
    schedule.refresh_from_db()
    assert schedule.next_fire_at == task.scheduled_at
    clocks.go_on(HOUR)
    settle(cron, clocks, rounds=2)
    schedule.refresh_from_db()
    assert Task.objects.get() == task
    assert (schedule.last_task_id, schedule.last_fire_at) == (task.pk, task.scheduled_at)


def test_a_zone_whose_rules_change_moves_the_next_fire_and_doubles_none(cron, clocks, monkeypatch) -> None:
    schedule = make_schedule(cron="0 6 * * *", timezone="Europe/Berlin")
    clocks.go_on(24 * HOUR)
    settle(cron, clocks)
    schedule.refresh_from_db()
    was = schedule.next_fire_at
    assert was is not None
    assert len(fires(schedule)) == 1
    one_hour_behind = timezone_of(schedule, behind=1)
    monkeypatch.setattr(timetable, "zone", lambda _: one_hour_behind)
    now = Clocks.now()
    assert realign(now=now, **make_lead()) == 1
    schedule.refresh_from_db()
    assert schedule.next_fire_at == was + timedelta(hours=1)
    assert realign(now=now, **make_lead()) == 0


def timezone_of(schedule: Schedule, *, behind: int) -> Any:
    return timezone(timedelta(seconds=schedule.fired_offset_seconds or 0) - timedelta(hours=behind), "new")


def test_a_schedule_whose_tasks_keep_dying_pauses_itself_and_says_why(cron, clocks) -> None:
    schedule = make_schedule(pause_after_failures=3, overlap="allow")
    for status in (Status.DEAD, Status.SUCCEEDED, Status.DEAD, Status.DEAD):
        reach(clocks, schedule)
        settle(cron, clocks)
        finish(schedule, status)
    clocks.go_on(60)
    settle(cron, clocks)
    schedule.refresh_from_db()
    assert schedule.paused_at is None
    # The pruner removes the success between the failures: it counts still.
    Task.objects.filter(status=Status.SUCCEEDED).delete()
    clocks.go_on(HOUR)
    settle(cron, clocks)
    finish(schedule, Status.DEAD)
    clocks.go_on(60)
    settle(cron, clocks)
    schedule.refresh_from_db()
    assert schedule.pause_reason == "3 of its tasks died in a row"
    entry = Journal.objects.get(verb="pause")
    assert (entry.kind, entry.object_id, entry.door) == ("schedule", str(schedule.pk), "scheduler")
    clocks.go_on(HOUR)
    settle(cron, clocks)
    assert len(fires(schedule)) == 4
    # Resumed, it gets as many tries again.
    schedules.resume(schedule.pk)
    clocks.go_on(HOUR)
    settle(cron, clocks, rounds=2)
    assert len(fires(schedule)) == 5
    assert Schedule.objects.get().paused_at is None


def test_a_schedule_whose_actor_is_gone_keeps_its_fire_and_does_not_hold_up_others(cron, clocks, monkeypatch) -> None:
    broken, healthy = make_schedule("broken"), make_schedule("healthy")
    Schedule.objects.filter(pk=broken.pk).update(actor="of_another_release")
    clocks.go_on(HOUR)
    settle(cron, clocks, rounds=2)
    assert (len(fires(broken)), len(fires(healthy))) == (0, 1)
    broken.refresh_from_db()
    assert "no actor is declared as 'of_another_release'" in broken.problem
    Schedule.objects.filter(pk=broken.pk).update(actor="act")
    clocks.go_on(11)
    settle(cron, clocks)
    broken.refresh_from_db()
    assert (len(fires(broken)), broken.problem) == (1, "")


def test_a_problem_tells_no_secret_of_the_payload(cron, clocks) -> None:
    schedule = make_schedule()
    Schedule.objects.update(actor="login", payload={"user": "ada", "password": {"hunter2": 1}})
    clocks.go_on(HOUR)
    settle(cron, clocks)
    schedule.refresh_from_db()
    assert schedule.problem == "not valid for its actor: payload.password"


@pytest.mark.parametrize("number", range(1, 5))
def test_whichever_statement_fails_the_fire_becomes_one_task(cron, clocks, monkeypatch, number: int) -> None:
    schedule = make_schedule(overlap="cancel_running")
    reach(clocks, schedule)
    settle(cron, clocks)
    reach(clocks, schedule)
    calls: list[str] = []

    def failing(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == number:
                raise OperationalError("the session is gone")
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as broken:
        for name in ("fetch", "cancel_many", "announce"):
            broken.setattr(fire_module, name, failing(name, getattr(fire_module, name)))
        with pytest.raises(OperationalError):
            cron.step()
    first = Task.objects.get()
    assert first.status == Status.PENDING, calls
    settle(cron, clocks, rounds=2)
    first.refresh_from_db()
    assert first.status == Status.CANCELLED
    assert len(fires(schedule)) == 2
    assert hours(schedule) == {timedelta(hours=1)}


def test_a_range_is_filled_a_few_at_a_time_and_what_has_fired_is_left_out(cron, clocks) -> None:
    schedule = make_schedule(overlap="allow")
    clocks.go_on(30 * HOUR)
    Schedule.objects.update(fired_until=Clocks.now(), next_fire_at=schedule.timetable.after(Clocks.now()))
    schedule.refresh_from_db()
    start = schedule.timetable.after(schedule.created_at)
    assert start is not None
    count = schedules.backfill(schedule.pk, start=start, end=start + timedelta(hours=24))
    assert count == 25
    settle(cron, clocks, rounds=3)
    assert len(fires(schedule)) == BACKFILL_AT_ONCE
    for _ in range(4):
        finish(schedule)
        settle(cron, clocks, rounds=2)
    assert len(fires(schedule)) == 25
    schedule.refresh_from_db()
    assert (schedule.backfill_from, schedule.backfill_until, schedule.last_task_id) == (None, None, None)
    schedules.backfill(schedule.pk, start=start, end=start + timedelta(hours=26))
    settle(cron, clocks, rounds=4)
    assert len(fires(schedule)) == 27
    assert hours(schedule) == {timedelta(hours=1)}


def test_a_range_is_filled_one_by_one_if_tasks_must_not_overlap(cron, clocks) -> None:
    schedule = make_schedule()
    schedules.backfill(
        schedule.pk, start=schedule.created_at - timedelta(hours=4), end=schedule.created_at - timedelta(hours=1)
    )
    for expected in (1, 2, 3):
        settle(cron, clocks, rounds=3)
        assert len(fires(schedule)) == expected
        finish(schedule)


def test_a_kept_fire_outlives_an_outage(cron, clocks) -> None:
    schedule = make_schedule(overlap="buffer_one", catch_up="all")
    for _ in range(2):
        reach(clocks, schedule)
        settle(cron, clocks)
    schedule.refresh_from_db()
    assert schedule.buffered_fire_at is not None
    clocks.go_on(2 * HOUR)
    for expected in (1, 2, 3, 4):
        settle(cron, clocks, rounds=3)
        assert len(fires(schedule)) == expected
        finish(schedule)
    assert hours(schedule) == {timedelta(hours=1)}


def test_a_paused_schedule_fires_nothing_and_resumes_from_now(cron, clocks) -> None:
    schedule = make_schedule(catch_up="all", overlap="allow")
    schedules.pause(schedule.pk)
    clocks.go_on(5 * HOUR)
    settle(cron, clocks)
    schedules.resume(schedule.pk)
    settle(cron, clocks)
    assert fires(schedule) == []
    clocks.go_on(HOUR)
    settle(cron, clocks)
    assert len(fires(schedule)) == 1


def test_a_schedule_that_has_ended_rests(cron, clocks) -> None:
    now = Clocks.now()
    schedule = make_schedule(ends_at=now + timedelta(hours=2), overlap="allow")
    clocks.go_on(5 * HOUR)
    settle(cron, clocks, rounds=2)
    schedule.refresh_from_db()
    assert schedule.next_fire_at is None
    assert fires(schedule)[-1] <= now + timedelta(hours=2)
    assert fires(schedule)[0] > datetime(2020, 1, 1, tzinfo=UTC)


def test_the_rest_ends_at_the_next_fire(cron, clocks) -> None:
    make_schedule(every_seconds=1.0)
    clocks.go_on(0.4)
    assert 0 < cron.step() <= 1
