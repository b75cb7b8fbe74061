"""Unique keys: one task of an owner and an actor has a key, until it starts, ends, or has had it long enough."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import dramatiq
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks import lifecycle
from tasks.errors import Duplicate, InvalidTask
from tasks.lifecycle import Submission, workers
from tasks.models import Task
from tasks.states import DeathReason, Status
from tasks.unique import digest
from tests.factories import age, dispatch, failure, let_lease_run_out, make_task, outcome, start, submit
from tests.lifecycle.test_index_budget import matching_indexes

pytestmark = pytest.mark.django_db

KEY = {"key": "invoice:1"}
REPLACE = {"key": "invoice:1", "on_conflict": "replace"}
REJECT = {"key": "invoice:1", "on_conflict": "reject"}


def holder_of(**unique: Any) -> Any:
    """Submit the key again, and return the id of its task if it was there."""
    task = submit(unique={**KEY, **unique})
    return task.pk if task.submitted_as != "created" else None


@pytest.mark.parametrize("status", [Status.PENDING, Status.QUEUED, Status.RUNNING, Status.RETRYING])
def test_a_task_has_its_key_until_it_has_ended(status: Status, worker) -> None:
    task = make_task(status, worker=worker, unique=KEY)
    assert holder_of() == task.pk
    assert Task.objects.count() == 1


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.DEAD, Status.CANCELLED])
def test_a_task_that_has_ended_gives_its_key_up(status: Status, worker) -> None:
    make_task(status, worker=worker, unique=KEY)
    assert holder_of() is None
    assert Task.objects.count() == 2


def test_a_task_that_was_deleted_has_no_key() -> None:
    lifecycle.delete(submit(unique=KEY).pk)
    assert holder_of() is None


def test_a_task_that_has_expired_gives_its_key_up(lead) -> None:
    age(submit(unique=KEY, max_age_seconds=60), expires_at=timedelta(days=1))
    lifecycle.expire_many(**lead)
    assert holder_of() is None


def test_until_started_a_claim_frees_the_key_and_neither_a_failure_nor_a_rescue_takes_it_back(worker, lead) -> None:
    task = submit(unique={**KEY, "until": "started"})
    hint = dispatch(task)
    assert holder_of(until="started") == task.pk
    (claimed,) = lifecycle.claim_many([hint], worker_id=worker.pk)
    second = submit(unique={**KEY, "until": "started"})
    assert second.submitted_as == "created"
    lifecycle.complete_many([failure(claimed, worker, retry_delay_seconds=0)])
    start(Task.objects.get(pk=task.pk), worker)
    let_lease_run_out(worker)
    workers.leave(worker.pk)
    lifecycle.rescue_lost(**lead)
    assert holder_of() == second.pk


def test_a_rescued_task_has_its_key_still(worker, lead) -> None:
    task = submit(unique=KEY)
    start(task, worker)
    workers.leave(worker.pk)
    assert [move.id for move in lifecycle.rescue_lost(**lead)] == [task.pk]
    assert holder_of() == task.pk


def test_a_key_is_free_after_its_ttl_whatever_its_task_does(worker) -> None:
    task = make_task(Status.RUNNING, worker=worker, unique={**KEY, "ttl_seconds": 60})
    assert holder_of() == task.pk
    age(task, created_at=timedelta(seconds=61))
    assert holder_of() is None


@pytest.mark.parametrize("status", [Status.DEAD, Status.CANCELLED])
def test_a_second_life_has_no_key(status: Status, worker) -> None:
    first = make_task(status, worker=worker, unique=KEY)
    lifecycle.retry(first.pk)
    assert holder_of() is None
    first.refresh_from_db()
    assert (first.status, first.unique_key) == (Status.PENDING, None)


def test_a_task_that_a_worker_of_an_earlier_release_has_ended_gives_its_key_up(worker) -> None:
    task = make_task(Status.SUCCEEDED, worker=worker, unique=KEY)
    Task.objects.filter(pk=task.pk).update(unique_key=digest(owner_id=None, actor="act", key=KEY["key"]))
    assert holder_of() is None
    task.refresh_from_db()
    assert task.unique_key is None


def test_a_running_task_that_was_cancelled_and_put_back_gives_its_key_up(worker) -> None:
    claimed = start(submit(unique=KEY), worker)
    lifecycle.cancel(claimed.id)
    assert holder_of() == claimed.id, "it runs still"
    lifecycle.put_back_many([(claimed.id, claimed.attempt)], worker_id=worker.pk)
    assert holder_of() is None


def test_owners_and_actors_do_not_share_keys(django_user_model) -> None:
    owners = [django_user_model.objects.create(username=name) for name in ("ada", "grace")]
    tasks = [submit(unique=KEY, owner_id=owner.pk) for owner in owners]
    tasks += [submit(unique=KEY), submit("limited", unique=KEY)]
    assert len({task.pk for task in tasks}) == 4


# --- What happens on a conflict ---


def test_replace_gives_a_waiting_task_new_content_and_takes_it_back_from_the_broker(announcements) -> None:
    first = submit(unique=REPLACE, tags=["old"])
    hint = dispatch(first)
    with announcements() as heard:
        task = submit(
            unique=REPLACE, payload={"do": "return", "value": 2}, tags=["new"], priority=9, queue="other", max_retries=0
        )
    assert (task.pk, task.submitted_as, task.status, task.version) == (first.pk, "replaced", Status.PENDING, 2)
    assert (task.payload["value"], task.tags, task.priority, task.queue) == (2, ["new"], 9, "other")
    assert (task.max_retries, task.created_at) == (0, first.created_at)
    assert [(one.verb, [move.id for move in one.moves]) for one in heard] == [("edit", [first.pk])]
    assert hint.task_id == task.pk


def test_a_replacement_postpones_up_to_the_cap_and_no_further() -> None:
    rule = {**REPLACE, "max_wait_seconds": 100}
    first = submit(unique=rule, delay_seconds=60)
    second = submit(unique=rule, delay_seconds=90)
    assert second.run_at > first.run_at
    age(second, created_at=timedelta(seconds=50), run_at=timedelta(seconds=50))
    third = submit(unique=rule, delay_seconds=90)
    assert third.run_at == third.created_at + timedelta(seconds=100)
    assert submit(unique=rule, delay_seconds=1).run_at < third.run_at, "an earlier time is taken"


def test_a_cap_pulls_no_task_forward_that_was_put_off_further() -> None:
    at = timezone.now() + timedelta(days=30)
    submit(unique=REPLACE, run_at=at)
    assert submit(unique=REPLACE, run_at=at + timedelta(days=1)).run_at == at


def test_a_running_task_is_not_replaced(worker) -> None:
    first = make_task(Status.RUNNING, worker=worker, unique={**REPLACE, "until": "finished"})
    task = submit(unique=REPLACE, payload={"do": "return", "value": 2})
    assert (task.pk, task.submitted_as, "value" in task.payload) == (first.pk, "existing", False)


def test_reject_names_the_task_and_writes_nothing() -> None:
    first = submit(unique=KEY)
    with pytest.raises(Duplicate) as caught:
        submit(unique=REJECT)
    assert [(one.field, one.code, one.message) for one in caught.value.errors] == [
        ("unique", "duplicate", f"task {first.pk} has the key")
    ]
    with pytest.raises(Duplicate) as caught:
        lifecycle.submit_many([Submission(actor="act", payload={"do": "return"}, unique=one) for one in (None, REJECT)])
    assert [one.field for one in caught.value.errors] == ["tasks.1.unique"]
    assert list(Task.objects.all()) == [first]


def test_of_one_key_in_one_call_the_later_follow_the_first() -> None:
    rules = [None, KEY, {"key": "other"}, KEY, REPLACE, None]
    tasks = lifecycle.submit_many(
        [
            Submission(actor="act", payload={"do": "return", "value": place}, unique=rule)
            for place, rule in enumerate(rules)
        ]
    )
    assert [task.submitted_as for task in tasks] == ["created", "created", "created", "existing", "replaced", "created"]
    assert tasks[1].pk == tasks[3].pk == tasks[4].pk
    assert tasks[1].payload["value"] == 4
    assert Task.objects.count() == 4


def test_a_message_that_is_sent_again_finds_its_task_and_gets_another_id_once_it_has_ended(worker) -> None:
    id = str(uuid4())
    first = submit(unique=KEY, message_id=id)
    assert submit(unique=KEY, message_id=id).pk == first.pk
    lifecycle.cancel(first.pk)
    second = submit(unique=KEY, message_id=id)
    assert (second.submitted_as, second.message_id) == ("created", id if str(first.pk) == id else second.message_id)
    assert second.pk != first.pk


def test_an_idempotency_key_remembers_the_task_that_had_the_unique_key() -> None:
    first = submit(unique=KEY)
    submission = Submission(actor="act", payload={"do": "return"}, unique=KEY)
    receipts = [lifecycle.submit_once(submission, key="once") for _ in range(2)]
    assert [one.is_replayed for one in receipts] == [False, True]
    assert [one.ids for one in receipts] == [[first.pk], [first.pk]]
    assert receipts[1].tasks[first.pk].pk == first.pk


# --- What it costs ---


def test_a_key_that_is_free_again_costs_one_statement(worker) -> None:
    make_task(Status.SUCCEEDED, worker=worker, unique=KEY)
    with CaptureQueriesContext(connection) as captured:
        submit(unique=KEY)
    assert [one["sql"].split()[0] for one in captured if "SAVEPOINT" not in one["sql"]] == ["INSERT"]


def test_a_plain_task_is_in_no_index_of_keys_and_runs_the_plain_statement() -> None:
    # Once before, so that the statement is prepared.
    submit()
    with CaptureQueriesContext(connection) as captured:
        task = submit()
    assert [one["sql"].split()[:2] for one in captured] == [["EXECUTE", "callboard_submit"]]
    assert "task_unique_key" not in matching_indexes("callboard_task", "id = %s", [task.pk])
    keyed = submit(unique=KEY)
    assert "task_unique_key" in matching_indexes("callboard_task", "id = %s", [keyed.pk])


# --- Values ---


@pytest.mark.parametrize(
    "rule",
    [
        "", 5, [], {}, {"key": ""}, {"key": None}, {"key": 1}, {"key": "k" * 256}, {"key": "\0"}, {"key": "\ud800"},
        {**KEY, "until": "later"}, {**KEY, "until": 1}, {**KEY, "on_conflict": "drop"}, {**KEY, "ttl_seconds": 0},
        {**KEY, "ttl_seconds": -1}, {**KEY, "ttl_seconds": float("nan")}, {**KEY, "ttl_seconds": True},
        {**KEY, "ttl_seconds": 1e12}, {**KEY, "max_wait_seconds": 5}, {**REPLACE, "max_wait_seconds": "5"},
        {**KEY, "more": 1},
    ],
)  # fmt: skip
def test_a_rule_that_is_not_valid_is_the_error_of_its_field(rule: Any) -> None:
    with pytest.raises(InvalidTask) as caught:
        submit(unique=rule)
    assert [one.field for one in caught.value.errors] == ["unique"]
    assert not Task.objects.exists()


def test_an_actor_s_template_becomes_a_key_of_the_arguments(worker) -> None:
    sent = [dramatiq.get_broker().actors["invoice"].send(4711).message_id for _ in range(2)]
    assert sent[0] == sent[1]
    task = submit("invoice", payload={"order_id": 4711, "kind": "paper"})
    assert str(task.pk) == sent[0], "positional arguments and defaults count as well"
    assert task.unique_rule == {"key": "invoice:4711:paper", "until": "finished", "on_conflict": "return"}
    assert submit("invoice", payload={"order_id": 4712}).submitted_as == "created"
    assert submit("invoice", payload={"order_id": 4711}, unique="mine").submitted_as == "created"


def test_an_argument_that_fits_no_key_is_the_error_of_the_field() -> None:
    with pytest.raises(InvalidTask, match="expected 'order_id' as text or a number") as caught:
        submit("invoice", payload={"order_id": [1]})
    assert [one.field for one in caught.value.errors] == ["unique"]
    with pytest.raises(InvalidTask, match="at most 255 characters"):
        submit("invoice", payload={"order_id": "1" * 300})


def test_a_message_option_is_a_key() -> None:
    act = dramatiq.get_broker().actors["act"]
    ids = {act.send_with_options(kwargs={"do": "return"}, unique="k").message_id for _ in range(2)}
    ids.add(act.send_with_options(kwargs={"do": "return"}, unique={"key": "k"}).message_id)
    assert len(ids) == Task.objects.count() == 1
    with pytest.raises(InvalidTask, match="expected unique as a key"):
        act.send_with_options(kwargs={"do": "return"}, unique={"until": "never"})


def test_a_follow_up_whose_key_is_taken_is_dropped_and_the_outcome_is_written(worker) -> None:
    from tasks.lifecycle.submit import checked
    from tasks.lifecycle.submit_unique import never_refused

    holder = submit(unique=REJECT)
    claimed = start(submit(priority=10), worker)
    follow = Submission(actor="act", payload={"do": "return"}, unique=REJECT)
    follow = Submission(actor="act", row=never_refused(checked(follow)))
    assert len(lifecycle.complete_many([outcome(claimed, worker, followups=[follow])])) == 1
    assert Task.objects.count() == 2
    assert holder_of() == holder.pk
    assert DeathReason.NOT_RETRYABLE not in Task.objects.values_list("status", flat=True)
