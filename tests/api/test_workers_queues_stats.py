"""Workers, queues and statistics over REST: for staff, at a bounded cost."""

from datetime import timedelta

import pytest

from tasks.broker.notifier import Event, notifier
from tasks.lifecycle import workers
from tasks.models import Queue, TaskStat, Worker
from tasks.queries import counts
from tasks.states import Status
from tests import factories

WORKERS, QUEUES = "/api/v1/workers", "/api/v1/queues"


def test_workers_are_listed_newest_first(staff, worker):
    second = factories.make_worker(threads=2, queues=("other",))
    first_page = staff.get(f"{WORKERS}?limit=1").json()
    (listed,) = first_page["results"]
    assert (listed["id"], listed["threads"], listed["queues"], listed["status"]) == (
        str(second.pk),
        2,
        ["other"],
        "ALIVE",
    )
    assert listed["heartbeat_at"] < listed["lease_expires_at"]
    assert [one["id"] for one in staff.get(first_page["next"]).json()["results"]] == [str(worker.pk)]


def test_workers_are_filtered_by_status(staff, worker):
    gone = factories.make_worker()
    workers.leave(gone.pk)
    assert len(staff.get(f"{WORKERS}/").json()["results"]) == 2
    assert [one["id"] for one in staff.get(f"{WORKERS}?status=gone").json()["results"]] == [str(gone.pk)]
    assert len(staff.get(f"{WORKERS}?status=alive&status=GONE").json()["results"]) == 2


def test_a_worker_tells_its_build_and_memory(staff, db):
    worker = factories.make_worker(build="a1b2c3")
    workers.beat(worker.pk, memory_bytes=123_456_789)
    body = staff.get(f"{WORKERS}/{worker.pk}").json()
    assert (body["build"], body["memory_bytes"]) == ("a1b2c3", 123_456_789)
    Worker.objects.update(build="", memory_bytes=None)
    body = staff.get(f"{WORKERS}/{worker.pk}").json()
    assert (body["build"], body["memory_bytes"]) == (None, None)


def test_a_worker_tells_what_it_runs(staff, worker):
    task = factories.make_task(Status.RUNNING, worker=worker)
    body = staff.get(f"{WORKERS}/{worker.pk}").json()
    assert body["running"] == [str(task.pk)]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_deleted_worker_drains_and_is_gone_then(staff, worker, slash):
    for _ in range(2):
        response = staff.delete(f"{WORKERS}/{worker.pk}{slash}")
        assert (response.status_code, response.json()["status"]) == (202, "DRAINING")
    assert workers.beat(worker.pk).is_draining
    workers.leave(worker.pk)
    response = staff.delete(f"{WORKERS}/{worker.pk}{slash}")
    assert (response.status_code, response.json()["status"]) == (200, "GONE")
    assert Worker.objects.count() == 1


def test_queues_tell_what_waits_and_for_how_long(staff, worker):
    factories.make_due(factories.submit())
    factories.submit(delay_seconds=60)
    factories.make_task(Status.RUNNING, worker=worker, queue="other")
    default, other = staff.get(f"{QUEUES}/").json()["results"]
    assert (default["name"], default["waiting"], default["running"], default["paused_at"]) == ("default", 2, 0, None)
    assert default["oldest_due_seconds"] == pytest.approx(365 * 86_400, abs=60)
    assert (other["name"], other["running"], other["oldest_due_seconds"]) == ("other", 1, None)
    assert staff.get(f"{QUEUES}/default/").json()["threads"] == 4


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_queue_is_paused_and_resumed(staff, worker, slash):
    factories.make_task(Status.QUEUED)
    for _ in range(2):
        body = staff.send(f"{QUEUES}/default/pause{slash}").json()
        assert (body["queued"], body["waiting"], body["paused_at"] is None) == (0, 1, False)
    assert factories.dispatch_due() == []
    for _ in range(2):
        assert staff.send(f"{QUEUES}/default/resume{slash}").json()["paused_at"] is None
    assert len(factories.dispatch_due()) == 1


def test_a_pause_is_a_field_too(staff, worker):
    def patch(paused):
        return staff.patch(f"{QUEUES}/other", {"paused": paused}, content_type="application/json").json()

    assert patch(True)["paused_at"] is not None
    assert Queue.objects.get(pk="default").paused_at is None
    assert patch(False)["paused_at"] is None


def test_resuming_wakes_the_dispatcher(staff, worker, wakeups, monkeypatch, django_capture_on_commit_callbacks):
    events: list[Event] = []
    monkeypatch.setattr(notifier, "notify", events.append)
    staff.send(f"{QUEUES}/default/pause")
    with django_capture_on_commit_callbacks(execute=True):
        staff.send(f"{QUEUES}/default/resume")
    assert events == [Event.DUE_ANYWHERE]


def test_the_board_in_numbers(staff, worker):
    for status in (Status.PENDING, Status.SUCCEEDED, Status.DEAD):
        factories.make_task(status, worker=worker)
    body = staff.get("/api/v1/stats?minutes=60").json()
    assert (body["tasks"]["PENDING"], body["tasks"]["SUCCEEDED"], body["tasks"]["RUNNING"]) == (1, 1, 0)
    assert set(body["tasks"]) == set(Status)
    recent = body["recent"]
    assert (recent["minutes"], recent["attempts"]) == (60, {"SUCCEEDED": 1, "FAILED": 1})
    assert recent["run_seconds"]["p50"] == pytest.approx(0.005)
    assert (len(body["queues"]), len(body["workers"]), body["capped"]) == (2, 1, [])


def test_an_empty_board_has_numbers_too(staff):
    body = staff.get("/api/v1/stats/").json()
    assert body["recent"]["run_seconds"] == {"p50": None, "p95": None, "p99": None}
    assert body["recent"]["minutes"] == 5


def test_numbers_are_bounded(staff, monkeypatch):
    monkeypatch.setattr(counts, "COUNT_CAP", 2)
    for _ in range(3):
        factories.submit()
    body = staff.get("/api/v1/stats").json()
    assert (body["tasks"]["PENDING"], body["capped"]) == (2, ["PENDING"])


def test_a_series_tells_what_came_in_and_ended(staff):
    start = (factories.database_now() - timedelta(minutes=1)).replace(second=0, microsecond=0)
    values = {"span_seconds": 60, "start": start, "queue": "default", "run_seconds": 1.5}
    TaskStat.objects.create(actor="act", outcome="SUCCEEDED", count=3, waits=[3], runs=[0] * 9 + [3], **values)
    TaskStat.objects.create(actor="act", outcome="DEAD", count=1, waits=[], runs=[], **values)
    TaskStat.objects.create(actor="add", outcome="SUBMITTED", count=9, waits=[], runs=[], **values)
    body = staff.get("/api/v1/stats/series").json()
    assert (body["window"], body["step_seconds"], len(body["points"])) == ("1h", 60, 60)
    point = next(one for one in body["points"] if one["start"] == start.isoformat().replace("+00:00", "Z"))
    assert (point["submitted"], point["succeeded"], point["dead"], point["failure_share"]) == (9, 3, 1, 0.25)
    assert (point["run_seconds"]["p50"], point["busy_seconds"]) == (0.75, 4.5)
    assert body["total"]["succeeded"] == 3
    of_one = staff.get("/api/v1/stats/series?actor=add&window=7d").json()
    assert (of_one["total"]["submitted"], of_one["total"]["failure_share"], len(of_one["points"])) == (9, None, 56)
    assert staff.get("/api/v1/stats/series?queue=nowhere").json()["total"]["submitted"] == 0
