"""``callboard batches``."""

import pytest

from tasks.lifecycle import Submission
from tasks.models import Journal, Task, new_id
from tests.commands.cli import callboard, callboard_json, refused
from tests.factories import make_batch

pytestmark = pytest.mark.django_db


def test_batches_are_listed_shown_filled_closed_and_cancelled() -> None:
    act = Submission(actor="act", payload={"do": "return"})
    batch = make_batch(name="import", tasks=[act], is_open=True)
    other = make_batch()
    id = str(batch.pk)
    assert callboard("batches", "list", "-q").split() == [str(other.pk), id]
    assert [one["name"] for one in callboard_json("batches", "list", "--status", "open")["results"]] == ["", "import"]
    assert callboard_json("submit", "act", "--payload", "do=return", "--batch", id)["batch"] == id
    shown = callboard_json("batches", "show", id)
    assert (shown["status"], shown["total"]) == ("OPEN", 2)
    assert callboard_json("batches", "close", id)["results"][0]["status"] == "RUNNING"
    assert "RUNNING" in refused("submit", "act", "--payload", "do=return", "--batch", id)[0]
    assert callboard_json("batches", "cancel", id, "--reason", "twice")["results"][0]["status"] == "RUNNING"
    assert callboard_json("batches", "show", id)["cancel_reason"] == "twice"
    assert callboard("tasks", "list", "--batch", id, "--status", "cancelled", "-q").split() == [
        str(pk) for pk in Task.objects.of_batch(batch.pk).newest_first().values_list("pk", flat=True)
    ]
    entries = Journal.objects.filter(kind="batch").values_list("verb", "reason")
    assert list(entries) == [("close", ""), ("cancel", "twice")]


def test_an_unknown_batch_is_one_line() -> None:
    id = str(new_id())
    assert refused("batches", "show", id)[0] == f"there is no batch {id}"
    assert f"there is no batch {id}" in callboard_refusal("batches", "cancel", id)
    assert refused("submit", "act", "--payload", "do=return", "--batch", id)[0] == f"there is no batch {id}"


def callboard_refusal(*words: str) -> str:
    return "\n".join(map(str, refused(*words)))
