"""Who sees what of a task's data over REST: owners all of it, others no secrets, and nothing without the permission."""

import json

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.utils.html import escape

from tasks.masking import MASK
from tasks.models import Task
from tasks.states import Status
from tests import factories, secretive
from tests.callers import TASKS, Caller, assert_problem, let_see_payloads
from tests.secretive import PAYLOAD, PLAIN, SECRET

MASKED = {"do": "return", "value": {"password": MASK, "headers": [["Authorization", MASK]], "n": 1}}


@pytest.fixture
def task(alice, worker):
    return secretive.make(worker, owner_id=alice.user.pk)


@pytest.fixture
def staff(db):
    """Give an admin who may do everything but see the data of others."""
    user = User.objects.create_user("vera", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(group__name="admin").exclude(codename="view_payload").distinct()
    )
    return Caller(user)


@pytest.fixture
def auditor(staff):
    """Give a member of staff who may see payloads."""
    let_see_payloads(staff.user)
    return staff


def _addresses(task):
    letter = factories.open_letter(task)
    return [
        TASKS, f"{TASKS}/{task.pk}", f"{TASKS}/{task.pk}/result", f"{TASKS}/{task.pk}/attempts",
        f"{TASKS}/{task.pk}/events", "/api/v1/dlq", f"/api/v1/dlq/{letter.pk}",
    ]  # fmt: skip


def test_owners_see_their_data_as_it_is(alice, task):
    for address in _addresses(task):
        if not address.endswith("events"):
            assert SECRET in alice.get(address).content.decode(), address
    body = alice.get(f"{TASKS}/{task.pk}").json()
    assert body["payload"] == PAYLOAD
    assert body["error"] == {"type": "ValueError", "message": PLAIN}
    assert body["hidden"] == []
    browser = Client()
    browser.force_login(alice.user)
    assert browser.get(f"{TASKS}/{task.pk}").json()["payload"] == PAYLOAD


def test_others_who_may_see_payloads_see_no_secrets(auditor, task):
    for address in _addresses(task):
        text = auditor.get(address).content.decode()
        assert SECRET not in text, address
        assert MASK in text, address
    body = auditor.get(f"{TASKS}/{task.pk}").json()
    assert body["payload"] == MASKED
    assert body["result"] == {"said": f"cannot log in with {MASK}", "token": MASK}
    assert body["progress"]["note"] == f"cannot log in with {MASK}"
    assert body["error"] == {"type": "ValueError", "message": f"cannot log in with {MASK}"}
    assert body["hidden"] == []


def test_others_without_the_permission_see_no_data_and_are_told_so(staff, task):
    for address in _addresses(task):
        text = staff.get(address).content.decode()
        assert SECRET not in text, address
        assert "cannot log in" not in text, address
    body = staff.get(f"{TASKS}/{task.pk}").json()
    assert (body["payload"], body["result"], body["progress"]) == (None, None, None)
    assert body["error"] == {"type": "ValueError", "message": None}
    assert body["hidden"] == ["payload", "result", "progress", "error.message"]
    (attempt,) = staff.get(f"{TASKS}/{task.pk}/attempts").json()["results"]
    assert attempt["error"] == {"type": "ValueError", "message": None, "traceback": None}
    assert attempt["note"] is attempt["log"] is None
    assert attempt["hidden"] == ["error.message", "error.traceback", "log", "note"]
    (letter,) = staff.get("/api/v1/dlq").json()["results"]
    assert (letter["error"], letter["hidden"]) == ({"type": "ValueError", "message": None}, ["error.message"])


def test_what_belongs_to_nobody_is_clear_to_nobody(auditor, worker):
    task = secretive.make(worker)
    assert SECRET not in auditor.get(f"{TASKS}/{task.pk}").content.decode()
    root = Caller(User.objects.create_superuser("root"))
    assert root.get(f"{TASKS}/{task.pk}").json()["payload"] == MASKED


def test_positional_arguments_tell_secrets_too(auditor, alice):
    task = factories.submit("login", args=["ada", SECRET], payload={}, owner_id=alice.user.pk)
    Task.objects.filter(pk=task.pk).update(error=f"ValueError: {PLAIN}")
    assert auditor.get(f"{TASKS}/{task.pk}").json()["error"]["message"] == f"cannot log in with {MASK}"


def test_a_dead_letter_whose_task_is_gone_is_masked_by_form(auditor, task):
    letter = factories.open_letter(task)
    type(letter).objects.filter(pk=letter.pk).update(error_message=f"password={SECRET}")
    Task.objects.filter(pk=task.pk).delete()
    assert auditor.get(f"/api/v1/dlq/{letter.pk}").json()["error"]["message"] == f"password={MASK}"


def test_a_submission_is_answered_to_its_owner_as_it_is(alice):
    tasks = [{"actor": "act", "payload": PAYLOAD}]
    assert alice.submit(payload=PAYLOAD).json()["payload"] == PAYLOAD
    assert alice.send(f"{TASKS}/bulk", {"tasks": tasks}).json()["tasks"][0]["payload"] == PAYLOAD
    once = {"actor": "act", "payload": PAYLOAD, "idempotency_key": "a"}
    assert [alice.send(TASKS, once).json()["payload"] for _ in range(2)] == [PAYLOAD, PAYLOAD]


def test_the_verbs_answer_without_secrets(auditor, task):
    assert SECRET not in auditor.send(f"{TASKS}/{task.pk}/retry").content.decode()
    assert SECRET not in auditor.send(f"{TASKS}/{task.pk}/cancel").content.decode()


def test_the_browsable_page_suggests_what_its_reader_sees(auditor, alice):
    url = alice.submit(payload=PAYLOAD).json()["url"]
    browser = Client(headers={"accept": "text/html"})
    browser.force_login(auditor.user)
    page = browser.get(url).content.decode()
    assert SECRET not in page
    assert escape(json.dumps({"payload": MASKED}, indent=2)[2:-2]).splitlines()[1] in page


def test_the_decision_costs_no_query_for_each_row(auditor, worker, django_assert_max_num_queries):
    for _ in range(5):
        secretive.make(worker)
    auditor.get(TASKS)
    with django_assert_max_num_queries(5):
        auditor.get(TASKS)
    with django_assert_max_num_queries(6):
        auditor.get("/api/v1/dlq")


# --- Edits ------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(alice):
    return alice.submit(payload=PAYLOAD, run_at="2099-01-31T09:00:00Z").json()["url"]


def _edit(caller, method, url, body):
    return getattr(caller, method)(url, body, content_type="application/json")


def _stored():
    return Task.objects.get().payload


def test_what_was_read_masked_can_be_sent_back_and_the_secret_stays(auditor, waiting):
    read = auditor.get(waiting).json()
    names = ("payload", "priority", "queue", "run_at", "max_retries", "tags")
    answer = _edit(auditor, "put", waiting, {**{name: read[name] for name in names}, "priority": 9})
    assert (answer.status_code, answer.json()["priority"]) == (200, 9)
    assert _stored() == PAYLOAD
    assert _edit(auditor, "patch", waiting, {"payload": read["payload"]}).status_code == 200
    assert _stored() == PAYLOAD


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"password": MASK, "headers": [], "n": 2}, "payload.value.password"),
        ({"headers": [["Authorization", MASK], ["Host", "evil"]]}, "payload.value.headers.0.1"),
        ({"elsewhere": f"password={MASK}"}, "payload.value.elsewhere"),
        ({MASK: 1}, f"payload.value.{MASK}"),
    ],
)
def test_a_kept_secret_cannot_be_sent_elsewhere(auditor, waiting, value, field):
    answer = _edit(auditor, "patch", waiting, {"payload": {"do": "return", "value": value}})
    problem = assert_problem(answer, 400, code="invalid", field=field)
    assert problem["errors"][0]["code"] == "masked"
    assert _stored() == PAYLOAD


def test_a_payload_without_the_mask_replaces_the_stored_one(auditor, waiting):
    payload = {"do": "return", "value": {"password": "new"}}
    assert _edit(auditor, "patch", waiting, {"payload": payload}).status_code == 200
    assert _stored() == payload


def test_a_secret_cannot_be_guessed_by_edits(waiting):
    user = User.objects.create_user("olga", is_staff=True)
    user.groups.add(Group.objects.get(name="operator"))
    operator = Caller(user)
    wrong = json.loads(json.dumps(PAYLOAD).replace(SECRET, "a guess"))
    for guess in (wrong, PAYLOAD):
        assert_problem(_edit(operator, "patch", waiting, {"payload": guess}), 403)
    assert _edit(operator, "patch", waiting, {"payload": MASKED}).status_code == 200


def test_owners_may_store_asterisks(alice, waiting):
    payload = {"do": "return", "value": MASK}
    assert _edit(alice, "patch", waiting, {"payload": payload}).json()["payload"] == payload
    assert _stored() == payload


def test_what_is_hidden_can_be_sent_back_too(staff, waiting):
    read = staff.get(waiting).json()
    names = ("payload", "priority", "queue", "run_at", "max_retries", "tags")
    answer = _edit(staff, "put", waiting, {**{name: read[name] for name in names}, "priority": 9})
    assert (answer.status_code, answer.json()["priority"]) == (200, 9)
    assert _stored() == PAYLOAD
    assert_problem(_edit(staff, "patch", waiting, {"payload": None}), 400, field="payload")


def test_a_retry_that_no_longer_fits_tells_no_stored_value(auditor, worker):
    task = factories.make_task(Status.DEAD, worker=worker)
    Task.objects.filter(pk=task.pk).update(actor="login", payload={"user": "ada", "password": [SECRET]})
    problem = assert_problem(auditor.send(f"{TASKS}/{task.pk}/retry"), 400)
    assert SECRET not in str(problem)


def test_a_payload_that_python_takes_for_the_same_is_another(auditor):
    task = factories.submit("act", payload={"do": "return", "value": 1})
    change = {"payload": {"do": "return", "value": True}}
    assert auditor.patch(f"{TASKS}/{task.pk}", change, content_type="application/json").status_code == 200
    task.refresh_from_db()
    assert task.payload["value"] is True
