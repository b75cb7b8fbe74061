"""Tasks submitted in the admin: the form of an actor's schema, copies, and run now."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from tasks.admin.payload_fields import JsonField, payload_fields
from tasks.masking import MASK
from tasks.models import Journal, Task
from tasks.states import Door, Status
from tests import factories
from tests.admin.pages import browser_of, html, list_of, messages_of, page_of, verb_of

ADD = reverse("admin:callboard_task_add")


def submit(browser: Client, actor: str = "add", *, query: str = "", **fields: str) -> Any:
    return browser.post(f"{ADD}?actor={actor}{query}", fields, follow=True)


def member(*codenames: str) -> User:
    user = User.objects.create_user("shy", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames, content_type__app_label="callboard"))
    return user


def test_the_form_has_the_fields_of_the_schema(root: Client) -> None:
    assert '<option value="add">' in html(root.get(ADD))
    page = html(root.get(ADD, {"actor": "add"}))
    assert re.search(r'<input type="number" name="payload\.a"[^>]* required', page)
    assert re.search(r'<input type="number" name="payload\.b"(?![^>]* required)', page)
    assert "Default: 0." in page
    assert 'name="priority"' in page
    assert 'name="payload.a"' not in html(root.get(ADD, {"actor": "add", "json": "1"}))


def test_a_task_is_submitted_and_the_journal_says_by_whom(root: Client) -> None:
    answer = submit(root, **{"payload.a": "2", "priority": "9", "tags": "red, blue", "reason": "a try"})
    task = Task.objects.get()
    assert (task.payload, task.priority, task.tags, task.status) == ({"a": 2}, 9, ["red", "blue"], Status.PENDING)
    assert task.owner == User.objects.get(username="root")
    assert messages_of(answer) == [f"add …{str(task.pk)[-8:]} was submitted."]
    entry = Journal.objects.get()
    assert (entry.verb, entry.by, entry.door, entry.reason) == ("submit", "root", Door.ADMIN, "a try")
    assert (entry.task_id, entry.actor, entry.queue) == (task.pk, "add", "default")
    assert "submit" in html(root.get(page_of(task)))


@pytest.mark.parametrize(
    ("fields", "beside", "says"),
    [
        ({"payload.a": ""}, "payload.a", "This field is required"),
        ({"payload.a": "x"}, "payload.a", "Enter a whole number"),
        ({"payload.a": "1", "queue": "nowhere"}, "queue", "no queue"),
        ({"payload.a": "1", "priority": "11"}, "priority", "less than or equal to 10"),
        ({"payload.a": "1", "run_at": "soon"}, "run_at", "Enter a valid date"),
        ({"payload.a": "1", "tags": "x" * 101}, "tags", "at most 100 characters"),
        ({"payload.a": "1", "unique": "{"}, "unique", "valid JSON"),
        ({"payload.a": "1", "unique": '"x"'}, "unique", "expected an object"),
        ({"payload.a": "1", "depends_on": '["0198d3c2-7a31-7c4e-9d55-1f2a3b4c5d6e"]'}, "depends_on", "no task"),
        ({"payload.a": "1", "min_backoff_seconds": "9", "max_backoff_seconds": "1"}, "max_backoff_seconds", "at least"),
    ],
)
def test_bad_input_is_said_beside_its_field_and_submits_nothing(
    root: Client, fields: dict[str, str], beside: str, says: str
) -> None:
    answer = submit(root, reason="a try", **fields)
    page = html(answer)
    assert 'value="a try"' in page
    (row,) = re.findall(
        rf'<div class="form-row errors">(?:(?!<div class="form-row).)*name="{re.escape(beside)}"', page, re.S
    )
    assert says in row
    assert not Task.objects.exists()
    assert not Journal.objects.exists()


@pytest.mark.parametrize(
    "payload",
    ["{", "[1]", "null", '{"a": 1, "z": 2}', '{"a": NaN}', '{"a": "1"}', '{"a": 1, "a": 2}', "[" * 100_000,
     f'{{"a": {"1" * 5_000}}}'],
)  # fmt: skip
def test_a_payload_as_json_is_checked_too(root: Client, payload: str) -> None:
    page = html(submit(root, query="&json=1", payload=payload))
    assert 'class="errorlist"' in page
    assert not Task.objects.exists()
    submit(root, query="&json=1", payload='{"a": 5}')
    assert Task.objects.get().payload == {"a": 5}


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("actor", ["private", "gone", "<b>"])
def test_an_actor_that_is_closed_or_unknown_is_not_offered(root: Client, method: str, actor: str) -> None:
    page = html(getattr(root, method)(f"{ADD}?actor={actor}"))
    assert "You cannot submit tasks of this actor here" in page
    assert "<bdi><b>" not in page
    assert not Task.objects.exists()


def test_only_those_who_may_submit_get_the_form(db: None, life: Task) -> None:
    shy = browser_of(member("view_task", "view_payload"))
    assert shy.get(ADD).status_code == 403
    assert submit(shy, **{"payload.a": "1"}).status_code == 403
    assert ADD not in html(shy.get(list_of(Task)))
    assert ADD not in html(shy.get(page_of(life)))
    assert Task.objects.count() == 1


def test_a_copy_is_filled_in_and_leaves_the_first_alone(root: Client) -> None:
    first = factories.submit("add", payload={"a": 7}, priority=8, tags=["red"], max_retries=1)
    page = html(root.get(page_of(first)))
    (address,) = re.findall(rf'href="({ADD}\?copy=[\w-]+)"', page)
    form = html(root.get(address))
    for name, value in (("payload.a", "7"), ("priority", "8"), ("tags", "red"), ("max_retries", "1")):
        assert re.search(rf'name="{re.escape(name)}" value="{value}"', form), name
    root.post(address, {"payload.a": "8", "priority": "8"}, follow=True)
    copy = Task.objects.exclude(pk=first.pk).get()
    assert (copy.payload, copy.priority, copy.tags) == ({"a": 8}, 8, [])
    assert Journal.objects.get().detail == {"copy_of": str(first.pk)}
    first.refresh_from_db()
    assert first.payload == {"a": 7}


def test_what_fields_cannot_show_is_copied_as_json(root: Client) -> None:
    first = factories.submit("act", payload={"do": "return", "value": {"x": ["", None]}})
    address = f"{ADD}?copy={first.pk}"
    root.post(address, _filled(html(root.get(address))))
    assert Task.objects.exclude(pk=first.pk).get().payload == first.payload


def _filled(page: str) -> dict[str, str]:
    """Read what a browser would send of a form that nobody changed."""
    areas = re.findall(r'<textarea name="([^"]+)"[^>]*>\n?(.*?)</textarea>', page, re.S)
    inputs = re.findall(r'<input type="\w+" name="([^"]+)" value="([^"]*)"', page)
    return {name: unescape(value) for name, value in [*areas, *inputs] if name != "csrfmiddlewaretoken"}


def test_a_copy_takes_no_secrets_over(life: Task) -> None:
    first = factories.submit("act", payload={"do": "return", "value": {"password": "hunter2"}})
    browser = browser_of(member("view_task", "view_payload", "add_task"))
    address = f"{ADD}?copy={first.pk}"
    form = html(browser.get(address))
    assert "hunter2" not in form
    assert MASK in form
    answer = browser.post(address, _filled(form))
    assert "expected the value itself, got the mask" in html(answer)
    assert Task.objects.count() == 2


def test_a_task_whose_payload_is_hidden_cannot_be_copied(life: Task) -> None:
    browser = browser_of(member("view_task", "add_task"))
    assert "Run a copy" not in html(browser.get(page_of(life)))
    assert browser.get(f"{ADD}?copy={life.pk}").status_code == 403
    for wrong in ("x", "0198d3c2-7a31-7c4e-9d55-1f2a3b4c5d6e"):
        assert browser.get(f"{ADD}?copy={wrong}").status_code == 404


def test_fields_follow_the_types_of_a_schema() -> None:
    schema = {
        "$defs": {"Colour": {"enum": ["red", "blue"], "type": "string"}},
        "properties": {
            "colour": {"$ref": "#/$defs/Colour"}, "is_loud": {"type": "boolean", "default": False},
            "size": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
            "note": {"type": "string", "maxLength": 5}, "parts": {"type": "array"},
            "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        },
        "required": ["colour"],
    }  # fmt: skip
    fields = payload_fields(schema)
    given = {"colour": '"red"', "is_loud": "true", "size": "1.5", "note": "a\r\nb", "parts": "[1]", "either": "3"}
    read = {name: fields[f"payload.{name}"].clean(text) for name, text in given.items()}
    assert read == {"colour": "red", "is_loud": True, "size": 1.5, "note": "a\nb", "parts": [1], "either": 3}
    assert [name for name, field in fields.items() if field.required] == ["payload.colour"]
    assert payload_fields(schema, taken={"note": ""}) == {} == payload_fields(schema, taken={"other": 1})


def test_a_copy_fills_choices_in_and_falls_back_to_json_for_what_a_browser_would_change() -> None:
    schema = {
        "properties": {
            "colour": {"enum": ["red", "blue"]}, "is_loud": {"type": "boolean"}, "size": {"type": "number"},
            "note": {"type": "string"}, "parts": {"type": "array"},
            "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        },
        "required": ["colour", "parts"],
    }  # fmt: skip
    taken = {"colour": "blue", "is_loud": False, "size": 2, "note": "a\nb", "parts": [], "either": "3"}
    form = forms.Form()
    form.fields.update(payload_fields(schema, taken=taken))
    for name, chosen in (("colour", '"blue"'), ("is_loud", "false")):
        assert f'<option value="{escape(chosen)}" selected>' in str(form[f"payload.{name}"])
    sent = {name: form.fields[f"payload.{name}"].clean(str(form[f"payload.{name}"].value())) for name in taken}
    assert sent == taken
    for changed in ({"note": "a\r\nb"}, {"note": "a\rb"}, {"colour": "green"}, {"size": "big"}, {"is_loud": 0}):
        assert payload_fields(schema, taken=taken | changed) == {}


def test_json_that_was_typed_is_shown_again_as_it_was_typed() -> None:
    field = JsonField()
    for text in ('"3"', "null", "[ ]", "{"):
        assert field.prepare_value(field.bound_data(text, None)) == text


def test_a_pending_task_runs_now(root: Client) -> None:
    task = factories.submit(run_at=factories.database_now() + timedelta(hours=1))
    assert "Run now…" in html(root.get(page_of(task)))
    root.post(verb_of(task, "run_now"), {"confirmed": "yes", "reason": "customer waits"})
    task.refresh_from_db()
    assert task.run_at <= factories.database_now()
    entry = Journal.objects.get()
    assert (entry.verb, entry.reason, entry.detail) == ("edit", "customer waits", {"fields": ["run_at"]})
    assert "Run now…" not in html(root.get(page_of(task)))
    answer = root.post(verb_of(task, "run_now"), {"confirmed": "yes"}, follow=True)
    assert messages_of(answer)[0].startswith("Nothing was done.")


@pytest.mark.parametrize(("setting", "label"), [("LOG_URL_TEMPLATE", "Log lines"), ("TRACE_URL_TEMPLATE", "Trace")])
def test_a_task_links_to_its_log_lines_and_its_trace(
    root: Client, life: Task, settings: Any, setting: str, label: str
) -> None:
    assert f">{label}</a>" not in html(root.get(page_of(life)))
    Task.objects.filter(pk=life.pk).update(trace_id="4bf92f3577b34da6a3ce929d0e0e4736", queue='"a&b"')
    setattr(settings, setting, "https://logs.example/{trace_id}?task={task_id}&queue={queue}&from={from_ms}")
    page = html(root.get(page_of(life)))
    since = round(life.created_at.timestamp() * 1000) - 60_000
    address = (
        f"https://logs.example/4bf92f3577b34da6a3ce929d0e0e4736?task={life.pk}&amp;queue=%22a%26b%22&amp;from={since}"
    )
    assert f'<a href="{address}" rel="noreferrer">{label}</a>' in page
