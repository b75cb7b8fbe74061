"""Dependencies and workflows over REST: who may name which parents, the graph, and verbs on all of it."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Permission, User

from tasks import lifecycle
from tasks.contract import workflows
from tasks.contract.dependencies import parents_of
from tasks.models import Dependency, Journal, Task
from tasks.queries import dependencies
from tasks.states import DeathReason, Status
from tests.callers import TASKS, Caller, assert_problem
from tests.factories import failure, make_task, outcome, start

ACT = {"actor": "act", "payload": {"do": "return"}}

#: The same in every process of a parallel run, which compare the names of tests.
MISSING = "01890000-0000-7000-8000-000000000001"


def submit(caller: Caller, *parents: Any, **fields: Any) -> dict[str, Any]:
    response = caller.submit(depends_on=list(parents), **fields)
    assert response.status_code == 201, response.content
    return response.json()  # type: ignore[no-any-return]


def bulk(caller: Caller, *tasks: dict[str, Any]) -> Any:
    return caller.send(f"{TASKS}/bulk", {"tasks": [{**ACT, **task} for task in tasks]})


def statuses(*tasks: dict[str, Any]) -> list[str]:
    found = Task.objects.in_bulk([task["id"] for task in tasks], field_name="pk")
    return [next(str(one.status) for one in found.values() if str(one.pk) == task["id"]) for task in tasks]


def test_a_submission_names_its_parents_by_id_and_the_answer_says_why_it_waits(alice, lead):
    first, second = submit(alice), submit(alice)
    child = submit(alice, first["id"], {"id": second["id"], "on_failure": "run"})
    assert child["status"] == "BLOCKED"
    read = alice.get(child["url"]).json()
    assert read["depends_on"] == [
        {"id": first["id"], "batch": None, "on_failure": "cancel", "state": "NEW"},
        {"id": second["id"], "batch": None, "on_failure": "run", "state": "NEW"},
    ]
    (reason,) = read["waiting_for"]
    assert (reason["kind"], reason["tasks"], reason["parents"]) == ("parents", 2, [first["id"], second["id"]])
    assert reason["message"] == f"waits for 2 tasks: act {first['id']} (PENDING), act {second['id']} (PENDING)"
    listed = alice.get(TASKS).json()["results"][0]
    assert (listed["id"], listed["depends_on"]) == (child["id"], read["depends_on"])


def test_a_child_that_was_cancelled_with_its_parent_says_so(alice, lead):
    parent = submit(alice)
    child = submit(alice, parent["id"])
    alice.send(f"{parent['url']}/cancel")
    lifecycle.settle_all(**lead)
    read = alice.get(child["url"]).json()
    assert (read["status"], read["cause_id"]) == ("CANCELLED", parent["id"])
    assert read["depends_on"][0]["state"] == "FAILED"
    assert read["cause"] == f"Cancelled because task {parent['id']} of actor act was cancelled"
    Task.objects.filter(pk=parent["id"]).delete()
    after = alice.get(child["url"]).json()["cause"]
    assert after == f"Cancelled because task {parent['id']} did not succeed; it was removed since"


def test_children_of_a_dead_task_say_so_in_lists_too_with_one_query_for_all(
    alice, worker, lead, django_assert_num_queries
):
    parent = submit(alice)
    children = [submit(alice, parent["id"]) for _ in range(2)]
    lifecycle.complete_many(
        [failure(start(Task.objects.get(pk=parent["id"]), worker), worker, death=DeathReason.NOT_RETRYABLE)]
    )
    lifecycle.settle_all(**lead)
    said = f"Cancelled because task {parent['id']} of actor act died"
    for path in (TASKS, f"{parent['url']}/workflow"):
        listed = {one["id"]: one["cause"] for one in alice.get(path).json()["results"]}
        assert listed == {parent["id"]: None} | {child["id"]: said for child in children}
    rows = list(Task.objects.all())
    with django_assert_num_queries(2):
        assert parents_of(rows).causes.keys() == {UUID(parent["id"])}


def test_tasks_of_a_bulk_name_one_another_by_ref(alice):
    response = bulk(alice, {"ref": "a"}, {"depends_on": [{"ref": "a"}]})
    assert response.status_code == 201
    first, second = response.json()["tasks"]
    assert (first["status"], second["status"]) == ("PENDING", "BLOCKED")
    assert second["depends_on"] == [{"id": first["id"], "batch": None, "on_failure": "cancel", "state": "OPEN"}]


@pytest.mark.parametrize(
    "depends_on",
    [
        "x",
        {},
        [7],
        [None],
        ["no-id"],
        ["0" * 10_000],
        [{}],
        [{"id": MISSING, "ref": "a"}],
        [{"id": MISSING, "on_failure": "explode"}],
        [{"id": MISSING, "when": "later"}],
        [{"ref": "nobody"}],
        [{"ref": "x" * 101}],
        [[]],
        [MISSING],
        [MISSING] * 10_001,
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_names_no_task_is_refused_by_its_field(alice, depends_on):
    assert_problem(alice.submit(depends_on=depends_on), 400, code="invalid", field="depends_on")
    assert_problem(bulk(alice, {}, {"depends_on": depends_on}), 400, field="tasks.1.depends_on")
    assert not Task.objects.exists()


@pytest.mark.parametrize("parents", [["a"], ["b"]], ids=["itself", "a circle"])
def test_a_task_that_would_wait_for_itself_is_refused(alice, parents):
    response = bulk(
        alice, {"ref": "a", "depends_on": [{"ref": one} for one in parents]}, {"ref": "b", "depends_on": [{"ref": "a"}]}
    )
    problem = assert_problem(response, 400, code="invalid", field="tasks.0.depends_on")
    assert problem["errors"][0]["code"] == "cycle"
    assert not Task.objects.exists()


def test_a_strangers_task_cannot_be_told_from_one_that_does_not_exist(alice, bob):
    theirs, missing = submit(bob)["id"], str(uuid4())
    answers = [alice.submit(depends_on=[id]).json()["errors"] for id in (theirs, missing)]
    assert str(answers[0]).replace(theirs, missing) == str(answers[1])
    assert_problem(bulk(alice, {}, {"depends_on": [theirs]}), 400, field="tasks.1.depends_on")


def test_whoever_sees_a_task_but_not_its_data_cannot_make_a_child_that_would_read_it(alice):
    theirs = submit(alice)
    clerk = User.objects.create_user("clerk", is_staff=True)
    names = ("view_task", "add_task")
    clerk.user_permissions.add(*Permission.objects.filter(codename__in=names, content_type__app_label="callboard"))
    caller = Caller(clerk)
    assert caller.get(theirs["url"]).status_code == 200
    assert_problem(caller.submit(depends_on=[theirs["id"]]), 400, field="depends_on")
    permission = Permission.objects.get(codename="view_payload", content_type__app_label="callboard")
    clerk.user_permissions.add(permission)
    assert Caller(User.objects.get(pk=clerk.pk)).submit(depends_on=[theirs["id"]]).status_code == 201


def test_a_key_keeps_a_workflow_from_being_submitted_twice(alice):
    body = {"tasks": [{**ACT, "ref": "a"}, {**ACT, "depends_on": [{"ref": "a"}]}], "idempotency_key": "night"}
    first, again = alice.send(f"{TASKS}/bulk", body), alice.send(f"{TASKS}/bulk", body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert [one["depends_on"] for one in first.json()["tasks"]] == [one["depends_on"] for one in again.json()["tasks"]]
    assert Dependency.objects.count() == 1


# --- Batches as parents ---


def make_batch(caller: Caller, **body: Any) -> dict[str, Any]:
    response = caller.send("/api/v1/batches", body)
    assert response.status_code == 201, response.content
    return response.json()  # type: ignore[no-any-return]


def test_a_task_waits_for_a_batch_and_says_how_far_that_is(alice, worker, lead):
    batch = make_batch(alice, name="night", tasks=[ACT, ACT])
    child = submit(alice, {"batch": batch["id"], "on_failure": "run"})
    assert child["depends_on"] == [{"id": None, "batch": batch["id"], "on_failure": "run", "state": "NEW"}]
    lifecycle.succeed(outcome(start(Task.objects.get(pk=batch["task_ids"][0]), worker), worker))
    (reason,) = alice.get(child["url"]).json()["waiting_for"]
    assert (reason["kind"], reason["tasks"], reason["batches"]) == ("parents", 1, [batch["id"]])
    assert reason["message"] == f"waits for batch night {batch['id']} (1 of 2 ended)"
    parent = submit(alice)
    both = submit(alice, parent["id"], {"batch": make_batch(alice)["id"]})
    (reason,) = alice.get(both["url"]).json()["waiting_for"]
    assert reason["message"].startswith(f"waits for 2 tasks and batches: act {parent['id']} (PENDING), batch ")
    assert reason["message"].endswith("(0 of 0 ended, still open)")


def test_the_graph_has_the_batch_without_its_tasks(alice, bob):
    batch = make_batch(alice, tasks=[ACT])
    first, second = submit(alice, {"batch": batch["id"]}), submit(alice, {"batch": batch["id"]})
    graph = alice.get(f"{second['url']}/workflow").json()
    assert [node["id"] for node in graph["results"]] == [first["id"], second["id"]]
    assert [(one["id"], one["url"], one["total"]) for one in graph["batches"]] == [(batch["id"], batch["url"], 1)]
    assert alice.get(f"{submit(alice)['url']}/workflow").json()["batches"] == []


def test_a_child_that_was_cancelled_with_a_batch_says_by_whom_and_why(alice, lead):
    batch = make_batch(alice, tasks=[ACT])
    child = submit(alice, {"batch": batch["id"]})
    alice.send(f"{batch['url']}/cancel", {"reason": "wrong data"})
    while lifecycle.settle_batches(**lead).changed:
        pass
    read = alice.get(child["url"]).json()
    assert (read["status"], read["cause_id"]) == ("CANCELLED", batch["id"])
    assert read["cause"] == f"Cancelled because batch {batch['id']} was cancelled by alice: wrong data"


def test_a_strangers_batch_cannot_be_told_from_one_that_does_not_exist(alice, bob, staff):
    theirs, missing = make_batch(bob)["id"], str(uuid4())
    answers = [alice.submit(depends_on=[{"batch": id}]).json()["errors"] for id in (theirs, missing)]
    assert answers[0][0]["code"] == "unknown_batch"
    assert str(answers[0]).replace(theirs, missing) == str(answers[1])
    assert not Task.objects.exists()
    assert staff.submit(depends_on=[{"batch": theirs}]).status_code == 201


@pytest.mark.parametrize(
    "given", [{"batch": "no-id"}, {"batch": MISSING}, {"batch": MISSING, "id": MISSING}, {"batch": 7}, {"batch": None}]
)
def test_what_names_no_batch_is_refused_by_its_field(alice, given):
    assert_problem(alice.submit(depends_on=[given]), 400, code="invalid", field="depends_on")
    assert not Task.objects.exists()


def test_a_task_that_would_wait_for_its_own_batch_is_refused(alice):
    batch = make_batch(alice)
    response = alice.submit(batch=batch["id"], depends_on=[{"batch": batch["id"]}])
    problem = assert_problem(response, 400, code="invalid", field="depends_on")
    assert problem["errors"][0]["code"] == "cycle"
    assert alice.get(batch["url"]).json()["total"] == 0


# --- The graph ---


def test_the_graph_has_every_linked_task_once_whichever_of_them_is_asked(alice):
    top = submit(alice)
    left, right = submit(alice, top["id"]), submit(alice, top["id"])
    bottom = submit(alice, left["id"], right["id"])
    submit(alice)
    for one in (top, left, bottom):
        graph = alice.get(f"{one['url']}/workflow").json()
        assert [node["id"] for node in graph["results"]] == [task["id"] for task in (top, left, right, bottom)]
        assert (graph["tasks"], graph["is_complete"]) == (4, True)
        assert graph["statuses"] == {"BLOCKED": 3, "PENDING": 1}
    node = graph["results"][-1]
    assert [edge["id"] for edge in node["depends_on"]] == [left["id"], right["id"]]
    assert node["pending_parents"] == 2
    assert "payload" not in node


def test_a_task_without_dependencies_is_a_graph_of_itself(alice):
    task = submit(alice)
    assert [node["id"] for node in alice.get(f"{task['url']}/workflow").json()["results"]] == [task["id"]]


def test_the_graph_comes_in_pages_that_lead_forth_and_back(alice):
    top = submit(alice)
    ids = [top["id"], *(submit(alice, top["id"])["id"] for _ in range(4))]
    seen, url = [], f"{top['url']}/workflow?limit=2"
    while url:
        page = alice.get(url).json()
        assert page["tasks"] == 5
        seen += [node["id"] for node in page["results"]]
        last, url = page, page["next"]
    assert seen == ids
    before = alice.get(last["previous"]).json()
    assert [node["id"] for node in before["results"]] == ids[2:4]


def test_the_search_for_a_graph_stops_at_a_bound(alice, monkeypatch):
    monkeypatch.setattr(dependencies, "MOST_IN_WORKFLOW", 3)
    top = submit(alice)
    for _ in range(4):
        submit(alice, top["id"])
    graph = alice.get(f"{top['url']}/workflow").json()
    assert (graph["tasks"], graph["is_complete"]) == (3, False)
    monkeypatch.setattr(workflows, "MOST_IN_WORKFLOW", 3)
    assert_problem(alice.send(f"{top['url']}/cancel", {"workflow": True}), 400, code="invalid")
    assert not Task.objects.filter(status=Status.CANCELLED).exists()


def test_the_graph_leaves_out_what_the_caller_may_not_see(alice, staff):
    top = submit(alice)
    hidden = submit(staff, top["id"])
    own = submit(alice, top["id"])
    graph = alice.get(f"{top['url']}/workflow").json()
    assert [node["id"] for node in graph["results"]] == [top["id"], own["id"]]
    assert hidden["id"] not in str(graph)
    assert staff.get(f"{top['url']}/workflow").json()["tasks"] == 3


# --- Verbs on the whole ---


def test_a_workflow_is_cancelled_as_a_whole_with_who_and_why(alice, staff, worker, lead):
    top, running = submit(alice), submit(alice)
    child = submit(alice, top["id"], running["id"])
    foreign = submit(staff, top["id"])
    start(Task.objects.get(pk=running["id"]), worker)
    response = alice.send(f"{child['url']}/cancel", {"workflow": True, "reason": "wrong night"})
    assert (response.status_code, response.json()["status"]) == (200, "CANCELLED")
    assert statuses(top, running, child, foreign) == ["CANCELLED", "RUNNING", "CANCELLED", "BLOCKED"]
    assert Task.objects.get(pk=running["id"]).cancel_requested_at is not None
    entries = Journal.objects.filter(verb="cancel")
    assert {(one.by, one.reason) for one in entries} == {("alice", "wrong night")}
    assert len({one.operation_id for one in entries}) == 1
    assert [one.count for one in entries if one.count] == [3]
    # The end of its parent cancels what she could not.
    lifecycle.settle_all(**lead)
    assert statuses(foreign) == ["CANCELLED"]


def test_a_retry_of_a_workflow_runs_the_failed_part_again_and_no_more(alice, worker, lead):
    done, dead, cancelled = submit(alice), submit(alice), submit(alice)
    child = submit(alice, done["id"], dead["id"])
    last = submit(alice, child["id"], cancelled["id"])
    lifecycle.complete_many([outcome(start(Task.objects.get(pk=done["id"]), worker), worker)])
    claimed = start(Task.objects.get(pk=dead["id"]), worker)
    lifecycle.complete_many([failure(claimed, worker, death=DeathReason.NOT_RETRYABLE)])
    alice.send(f"{cancelled['url']}/cancel")
    lifecycle.settle_all(**lead)
    everything = (done, dead, cancelled, child, last)
    assert statuses(*everything) == ["SUCCEEDED", "DEAD", "CANCELLED", "CANCELLED", "CANCELLED"]
    assert alice.send(f"{last['url']}/retry", {"workflow": True}).status_code == 200
    lifecycle.settle_all(**lead)
    assert statuses(*everything) == ["SUCCEEDED", "PENDING", "PENDING", "BLOCKED", "BLOCKED"]


def test_a_workflow_that_was_cancelled_as_a_whole_runs_in_order_again(alice, worker, lead):
    top = submit(alice)
    child = submit(alice, top["id"])
    last = submit(alice, child["id"])
    alice.send(f"{top['url']}/cancel", {"workflow": True})
    lifecycle.settle_all(**lead)
    alice.send(f"{top['url']}/retry", {"workflow": True})
    assert statuses(top, child, last) == ["PENDING", "BLOCKED", "BLOCKED"]
    # Also if the first dies before the leader has looked.
    claimed = start(Task.objects.get(pk=top["id"]), worker)
    lifecycle.complete_many([failure(claimed, worker, death=DeathReason.NOT_RETRYABLE)])
    lifecycle.settle_all(**lead)
    assert statuses(top, child, last) == ["DEAD", "CANCELLED", "CANCELLED"]
    alice.send(f"{top['url']}/retry", {"workflow": True})
    lifecycle.settle_all(**lead)
    assert statuses(top, child, last) == ["PENDING", "BLOCKED", "BLOCKED"]


@pytest.mark.parametrize("body", [{"workflow": "yes"}, {"workflow": 1}, {"whole": True}])
@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_an_extent_that_is_none_is_refused(alice, verb, body):
    task = make_task(Status.PENDING, owner_id=alice.user.pk)
    assert_problem(alice.send(f"{TASKS}/{task.pk}/{verb}", body), 400, field=next(iter(body)))
