"""The API's description: valid, complete and true. (Every answer in the other tests is held against it.)"""

import json
import re
import warnings

import pytest
from django.contrib.staticfiles import finders
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import get_resolver
from django.utils.html import escape
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from tasks import lifecycle
from tasks.api import openapi
from tasks.api.examples import example_of
from tasks.api.openapi_operations import OPERATIONS, action_of
from tasks.contract import dead_letters, journal, submissions, tasks, workers
from tasks.contract.fields import InvalidValue
from tasks.contract.pages import PAGE_PARAMETERS, Cursor
from tasks.errors import STATUS_OF_CODE, InvalidTask
from tasks.lifecycle import operations
from tasks.lifecycle.operations import Plan
from tasks.management.commands import openapi as command
from tasks.models import Task
from tasks.states import OperationVerb, Status
from tasks.submission import EDITABLE
from tests import factories
from tests.api.described import assert_described, assert_fits
from tests.api.test_permissions import ROUTES, _patterns
from tests.callers import TASKS, let_see_payloads

DOCUMENT = openapi.document()


def test_it_is_valid_openapi_3_1_and_gives_no_warning():
    assert DOCUMENT["openapi"].startswith("3.1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_route_of_the_api_is_described_and_none_that_is_not_there():
    described = {
        (method, re.sub(r"\{\w+\}", "{}", path))
        for path, methods in DOCUMENT["paths"].items()
        if path.startswith("/api/")
        for method in methods
        if method != "parameters"
    }
    assert described == {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in ROUTES}
    routes = {re.sub(r"<\w+:(\w+)>", r"{\1}", f"/{pattern}") for pattern in _patterns(get_resolver().url_patterns)}
    assert set(DOCUMENT["paths"]) <= routes


def _names(path, method="get"):
    return {one["name"] for one in DOCUMENT["paths"][path][method]["parameters"] if one["in"] == "query"}


def test_filters_are_those_that_are_read():
    assert _names(TASKS) == {*tasks.FILTERS, *PAGE_PARAMETERS}
    assert _names("/api/v1/dlq") == {*dead_letters.FILTERS, *PAGE_PARAMETERS}
    assert _names("/api/v1/workers") == {*workers.FILTERS, *PAGE_PARAMETERS}
    assert _names("/api/v1/journal") == {*journal.FILTERS, *PAGE_PARAMETERS}


@pytest.mark.parametrize("text", ["", "x", "x" * 100, "x" * 101, "x" * 255, "x" * 256, "x\x00y", "x\ny", "x\ufffdy"])
@pytest.mark.parametrize(
    ("path", "filters"),
    [(TASKS, tasks.FILTERS), ("/api/v1/dlq", dead_letters.FILTERS), ("/api/v1/journal", journal.FILTERS)],
)
def test_text_that_a_filter_refuses_is_described_as_refused(path, filters, text):
    described = {one["name"]: one["schema"] for one in DOCUMENT["paths"][path]["get"]["parameters"]}
    for name in {"actor", "queue", "tag", "search", "verb", "by", "object"} & set(filters):
        try:
            filters[name].read(text)
        except InvalidValue:
            is_read = False
        else:
            is_read = True
        assert Draft202012Validator(described[name]).is_valid(text) is is_read, name


def _parameter(path, method, name):
    return next(one["schema"] for one in DOCUMENT["paths"][path][method]["parameters"] if one["name"] == name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        f"A{'_' * 22}",
        f"A{'g' * 22}",
        "_" * 23,
        f"A{'A' * 22}\n",
        *(Cursor(at, 2**127).encode() for at in (False, True)),
    ],
)
def test_cursors_that_are_refused_are_described_as_refused(text):
    try:
        Cursor.read(text)
    except InvalidValue:
        is_read = False
    else:
        is_read = True
    assert bool(re.fullmatch(_parameter(TASKS, "get", "cursor")["pattern"], text)) is is_read


@pytest.mark.parametrize(
    "key",
    [
        "",
        "k",
        "k" * 255,
        "k" * 256,
        '"',
        '""',
        '"k"',
        f'"{"k" * 255}"',
        f'"{"k" * 256}"',
        "a b",
        "a\x01b",
        "a\tb",
        "\xe9",
        '"a',
        'a"',
    ],
)
def test_keys_that_are_refused_in_the_header_are_described_as_refused(alice, key):
    response = alice.send(TASKS, {"actor": "limited"}, headers={"idempotency-key": key})
    schema = _parameter(TASKS, "post", "Idempotency-Key")
    assert Draft202012Validator(schema).is_valid(key) is (response.status_code == 201)


@pytest.mark.parametrize(
    "tag", ["", "*", "1", '"1"', 'W/"1"', '"1", W/"2"', '"1","2"', '"1" "2"', '"1",', '*, "1"', '"', '"1"x', 'w/"1"']
)
def test_tags_that_are_refused_are_described_as_refused(alice, tag):
    url = alice.submit(delay_seconds=60).json()["url"]
    response = alice.patch(url, {"tags": []}, content_type="application/json", headers={"if-match": tag})
    schema = _parameter(f"{TASKS}/{{task_id}}", "patch", "If-Match")
    assert Draft202012Validator(schema).is_valid(tag) is (response.status_code != 400)


_TIME = {"run_at": "2030-01-31T09:00:00Z"}


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ("Submission", {"actor": "act", "delay_seconds": 1, **_TIME}),
        ("BulkSubmission", {"tasks": [{"actor": "act", "delay_seconds": 0, **_TIME}]}),
        ("Submission", {"actor": "act", "payload": {"a\0": 1}}),
        ("Submission", {"actor": "act", "tags": ["\ufffd"]}),
        ("Edit", {}),
    ],
)
def test_a_body_that_is_refused_is_described_as_refused(schema, body):
    with pytest.raises(AssertionError, match=schema):
        assert_fits(schema, body)


def test_a_time_and_no_delay_are_described_as_taken():
    assert_fits("Submission", {"actor": "act", "delay_seconds": None, **_TIME})
    assert_fits("Submission", {"actor": "act", "delay_seconds": 1, "run_at": None})


_FIELDS = {*submissions.READERS, *submissions.NOT_SUPPORTED}


def test_fields_are_those_that_are_read():
    schemas = DOCUMENT["components"]["schemas"]
    assert set(schemas["Submission"]["properties"]) == _FIELDS
    assert set(schemas["Edit"]["properties"]) == {*EDITABLE, "reason"}
    assert set(schemas["Replacement"]["properties"]) == {*EDITABLE, "reason"}
    assert set(schemas["Replacement"]["required"]) == set(EDITABLE)
    of_bulk = schemas["BulkSubmission"]["properties"]["tasks"]["items"]["properties"]
    assert set(of_bulk) == _FIELDS


def _operations():
    return [DOCUMENT["paths"][one.path][one.method] for one in OPERATIONS]


def test_every_operation_says_what_it_does_once():
    operations = _operations()
    assert all(one["summary"].endswith(".") for one in operations)
    assert len({one["operationId"] for one in operations}) == len(operations)


def test_every_tag_and_parameter_says_what_it_is():
    operations = _operations()
    assert {tag for one in operations for tag in one["tags"]} == {tag["name"] for tag in DOCUMENT["tags"]}
    parameters = [parameter for one in operations for parameter in one["parameters"]]
    assert all(one["description"] for one in [*DOCUMENT["tags"], *parameters])


def _undescribed(path, schema):
    """List the properties that say nothing about themselves; counts by status say it by their names."""
    for name, one in schema.get("properties", {}).items():
        if "description" not in one and name not in Status:
            yield f"{path}.{name}"
        yield from _undescribed(f"{path}.{name}", one)
    if "items" in schema:
        yield from _undescribed(f"{path}[]", schema["items"])


def test_every_field_says_what_it_is():
    schemas = DOCUMENT["components"]["schemas"]
    assert [field for name, schema in schemas.items() for field in _undescribed(name, schema)] == []
    fields = [(name, one) for schema in schemas.values() for name, one in schema.get("properties", {}).items()]
    with_unit = ("_seconds", "_per_second")
    assert [name for name, one in fields if "number" in one.get("type", ()) and not name.endswith(with_unit)] == []
    assert [
        name for name, one in fields if one.get("format") == "date-time" and not name.endswith(("at", "since", "until"))
    ] == []


def test_every_code_of_a_problem_is_described():
    problem = DOCUMENT["components"]["schemas"]["Problem"]["properties"]
    assert problem["code"]["enum"] == list(STATUS_OF_CODE)
    answers = DOCUMENT["components"]["responses"]
    for code, (status, _) in STATUS_OF_CODE.items():
        media = answers[f"Problem{status}" if status != 500 else "Problem"]["content"]["application/problem+json"]
        example = media["examples"][code]["value"]
        assert (example["code"], example["status"]) == (code, status)
        assert_fits("Problem", example)


def test_the_example_of_a_problem_is_one(alice):
    problem = alice.submit("echo", payload={"message": "hello"}, priority=11).json()
    assert problem | {"trace_id": ""} == example_of(InvalidTask) | {"trace_id": ""}


def _body_of(operation):
    return DOCUMENT["paths"][operation.path][operation.method]["requestBody"]["content"]["application/json"]


_EXAMPLES = [
    (operation, example["summary"])
    for operation in OPERATIONS
    if operation.body
    for example in _body_of(operation)["examples"].values()
]


#: It answers a file, to browsers too.
EXPORT = "/api/v1/dlq/export"


def _operation(name, letter=None):
    """Begin an operation, a preview to resume, or a discard to undo."""
    if name == "undoOperation":
        discard = operations.begin(Plan(verb=OperationVerb.DISCARD), [letter.pk])
        lifecycle.discard(letter.pk)
        operations.cancel(discard.pk)
        return discard
    return operations.begin(Plan(verb=OperationVerb.REDRIVE), [], starts=name != "resumeOperation")


@pytest.mark.parametrize(("operation", "name"), _EXAMPLES, ids=[f"{one.name}: {name}" for one, name in _EXAMPLES])
def test_an_example_can_be_sent_as_it_is(alice, staff, worker, operation, name):
    action = action_of(operation)
    assert action
    caller = alice if action.is_for_owners or action.is_for_plain_users else staff
    task = alice.submit("echo", payload={"message": "hello"}).json()
    dead = factories.make_task(Status.DEAD, worker=worker, owner_id=alice.user.pk)
    Task.objects.filter(pk=dead.pk).update(actor="echo", payload={"message": "hello"})
    letter = factories.open_letter(dead)
    if operation.name == "restoreDeadLetter":
        lifecycle.discard(letter.pk)
    path = operation.path.format(
        task_id=dead.pk if operation.name == "retryTask" else task["id"], name="default", signal="approved",
        letter_id=letter.pk, worker_id=worker.pk,
        schedule_id=factories.make_schedule(is_declared=name.startswith("Give it back")).pk,
        batch_id=factories.make_batch(owner_id=alice.user.pk).pk, operation_id=_operation(operation.name, letter).pk,
        fingerprint=letter.fingerprint,
    )  # fmt: skip
    lifecycle.fold_failures(**factories.make_lead())
    (example,) = [one["value"] for one in _body_of(operation)["examples"].values() if one["summary"] == name]
    response = caller.generic(operation.method.upper(), path, json.dumps(example), content_type="application/json")
    assert response.status_code == next(iter(operation.answers)), response.content


def test_what_is_not_described_is_noticed(alice):
    task = alice.submit().json()
    assert_fits("Task", task)
    for wrong in (task | {"nope": 1}, task | {"priority": 11}, task | {"created_at": "now"}, {"id": task["id"]}):
        with pytest.raises(AssertionError):
            assert_fits("Task", wrong)
    created = alice.submit()
    del created.headers["Location"]
    with pytest.raises(AssertionError, match="lacks the header"):
        assert_described("POST", TASKS, b"{}", created)
    created.status_code = 202
    with pytest.raises(AssertionError, match="answered 202"):
        assert_described("POST", TASKS, b"{}", created)


@pytest.mark.parametrize(
    ("method", "path", "needs"),
    [
        ("get", "actors", "Needs the scope `read`."),
        (
            "post",
            "tasks",
            "the scope `submit` and the permission `callboard.add_task`; users who are not staff need no",
        ),
        ("delete", "tasks/{task_id}", "the permission `callboard.delete_task`; owners need no permission."),
        (
            "put",
            "tasks/{task_id}",
            "Another payload needs the scope `submit` and the permission `callboard.add_task`, too.",
        ),
        (
            "get",
            "stats",
            "`callboard.view_task` and the permission `callboard.view_queue` and the permission",
        ),
    ],
)
def test_a_description_says_who_may_do_it(method, path, needs):
    assert needs in DOCUMENT["paths"][f"/api/v1/{path}"][method]["description"]


@pytest.mark.parametrize("path", ["/api/schema", "/api/schema/"])
def test_the_description_is_open_to_everybody(db, path):
    response = Client().get(path)
    assert response["Content-Type"] == "application/vnd.oai.openapi+json;version=3.1"
    assert response.json() == DOCUMENT


def test_the_file_in_docs_is_in_sync(tmp_path, settings):
    call_command("openapi", "--check")
    settings.BASE_DIR = tmp_path
    (tmp_path / "docs").mkdir()
    with pytest.raises(CommandError, match="out of date"):
        call_command("openapi", "--check")
    call_command("openapi")
    call_command("openapi", "--check")
    assert (tmp_path / "docs" / "openapi.yaml").read_text() == command.written()


@pytest.mark.parametrize("path", ["/api/docs", "/api/docs/"])
def test_the_page_needs_nothing_from_elsewhere(db, path):
    response = Client().get(path)
    text = response.content.decode()
    assert response["Content-Type"].startswith("text/html")
    policy = response["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)", text), "an inline script, which the policy would stop"
    files = re.findall(r'"/static/([^"]+)"', text)
    assert {"api/docs.js", "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"} <= set(files)
    assert all(finders.find(file) for file in files)


@pytest.fixture
def browser(db, django_user_model):
    client = Client(headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, raise_request_exception=False)
    client.user = django_user_model.objects.create_superuser("root")  # type: ignore[attr-defined]
    client.force_login(client.user)  # type: ignore[attr-defined]
    return client


def test_staff_who_is_logged_in_can_browse_the_api(browser, alice):
    task = alice.submit(tags=["<script>alert(1)</script>"]).json()
    for path in (TASKS, f"{TASKS}/{task['id']}", "/api/v1/queues", "/api/v1/stats"):
        response = browser.get(path)
        assert response["Content-Type"].startswith("text/html")
        assert "default-src 'self'" in response["Content-Security-Policy"]
        assert "Accept" in response["Vary"]
        text = response.content.decode()
        assert "<script>alert" not in text
        assert not re.search(r"<script(?![^>]*\b(?:src=|type=\"application/json\"))", text)
    assert "&lt;script&gt;alert" in browser.get(TASKS).content.decode()


def test_the_page_of_an_answer_has_a_field_for_a_body(browser):
    text = browser.get(TASKS).content.decode()
    assert 'name="_content"' in text
    assert "application/json" in text
    assert escape('"actor": "echo"') in text
    body = {"actor": "add", "payload": {"a": 1}}
    response = browser.post(TASKS, body, content_type="application/json")
    assert response.status_code == 201
    assert response["Content-Type"].startswith("text/html")


def test_the_page_of_a_task_or_queue_suggests_what_there_is(browser, alice):
    let_see_payloads(browser.user)
    task = alice.submit("echo", payload={"message": "</textarea><script>"}, priority=7).json()
    text = browser.get(f"{TASKS}/{task['id']}").content.decode()
    suggested = {name: task[name] for name in EDITABLE}
    assert escape(json.dumps(suggested, indent=2)) in text
    assert "</textarea><script>" not in text
    assert escape('"paused": true') in browser.get("/api/v1/queues/default").content.decode()


def test_a_page_can_show_that_a_task_is_gone(browser, alice):
    url = alice.submit().json()["url"]
    gone = browser.delete(url)
    assert gone["Content-Type"].startswith("text/html")
    assert "HTTP 204" in gone.content.decode()
    assert alice.get(url).status_code == 404


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "get" and path != EXPORT])
def test_every_page_opens(browser, alice, worker, path):
    letter = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    names = {"task": letter.task_id, "letter": letter.pk, "worker": worker.pk, "queue": "default"}
    lifecycle.fold_failures(**factories.make_lead())
    names |= {"failure": letter.fingerprint, "operation": _operation("").pk}
    address = path.format(**names, schedule=factories.make_schedule().pk, batch=factories.make_batch().pk)
    for response in (browser.get(address), browser.options(address)):
        assert response.status_code == 200
        assert response["Content-Type"].startswith("text/html")


def test_a_page_says_what_its_methods_do(browser):
    text = browser.get("/api/v1/queues/default").content.decode()
    assert "<code>PATCH</code> Change a queue" in text
    assert "Django REST framework" not in text
    assert not re.search(r"<style|\sstyle=", text), "an inline style, which the policy would stop"


def test_a_form_that_is_refused_shows_why(browser, alice):
    for path, body in ((TASKS, {"actor": "<script>x"}), (alice.submit().json()["url"], {"priority": 11, "\ud800": 1})):
        send = browser.post if path == TASKS else browser.patch
        response = send(path, body, content_type="application/json")
        assert response.status_code == 400
        assert response["Content-Type"].startswith("text/html")
        text = response.content.decode()
        assert "HTTP 400" in text
        assert "&quot;errors&quot;" in text
        assert "<script>x" not in text
    refused = browser.get(f"{TASKS}?limit=0")
    assert (refused.status_code, refused["Content-Type"][:9]) == (400, "text/html")


def test_a_session_needs_the_token_of_its_form(browser, django_user_model):
    strict = Client(enforce_csrf_checks=True, raise_request_exception=False)
    strict.force_login(browser.user)
    response = strict.post(TASKS, {"actor": "echo", "payload": {"message": 1}}, content_type="application/json")
    assert response.status_code == 403
    assert response["Content-Type"] == "application/problem+json"
    assert "CSRF" in response.json()["detail"]
    page = strict.get(TASKS, headers={"accept": "text/html"}).content.decode()
    (token,) = set(re.findall(r'"csrfToken": "(\w+)"', page))
    sent = strict.post(
        TASKS,
        {"actor": "echo", "payload": {"message": 1}},
        content_type="application/json",
        headers={"x-csrftoken": token},
    )
    assert sent.status_code == 201


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/html", ""])
def test_programs_get_json_whoever_they_are(browser, accept):
    response = browser.get(TASKS, headers={"accept": accept})
    assert response["Content-Type"] == "application/json"


def test_who_is_not_staff_gets_json(db, django_user_model):
    client = Client(headers={"accept": "text/html"})
    client.force_login(django_user_model.objects.create_user("carol"))
    assert client.get(TASKS)["Content-Type"] == "application/json"
