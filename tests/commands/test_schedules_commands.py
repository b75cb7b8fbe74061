"""``callboard schedules``."""

import pytest

from tasks.models import Journal, Schedule, Task
from tests.commands.cli import callboard, callboard_json, refused
from tests.factories import make_schedule

pytestmark = pytest.mark.django_db

ADD = ("schedules", "add", "nightly", "act", "--payload", "do=return")


def test_a_schedule_is_added_listed_and_shown() -> None:
    made = callboard_json(
        *ADD, "--cron", "0 6 * * 1-5", "--timezone", "Europe/Berlin", "--overlap", "allow", "--priority", "high",
        "--jitter", "5", "--tag", "report", "--reason", "the new report",
    )  # fmt: skip
    assert (made["priority"], made["tags"], made["jitter_seconds"]) == (9, ["report"], 5)
    assert made["description"] == "At 06:00 on Monday through Friday, Europe/Berlin"
    assert [one["name"] for one in callboard_json("schedules", "list")["results"]] == ["nightly"]
    assert callboard_json("schedules", "list", "--actor", "limited")["results"] == []
    shown = callboard_json("schedules", "show", "nightly")
    assert shown.pop("last_results") == []
    assert shown == made
    assert callboard_json("schedules", "show", made["id"])["name"] == "nightly"
    entry = Journal.objects.get()
    assert (entry.verb, entry.door, entry.reason) == ("add", "cli", "the new report")
    assert entry.by.startswith("cli:")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--cron", "0 0 31 2 *"), "none of its months has that day"),
        ((), "expected cron"),
        (("--cron", "@daily", "--every", "60"), "got both"),
        (("--cron", "@daily", "--timezone", "Mars/Olympus"), "name of a time zone"),
        (("--every", "0.1"), "expected 1 to"),
    ],
)
def test_a_bad_definition_is_one_line(words: tuple[str, ...], says: str) -> None:
    assert says in refused(*ADD, *words)[0]
    assert not Schedule.objects.exists()


def test_schedules_are_paused_resumed_and_removed() -> None:
    make_schedule("a"), make_schedule("b")
    paused = callboard_json("schedules", "pause", "a", "b", "--reason", "maintenance")["results"]
    assert all(one["paused_at"] and one["pause_reason"] == "maintenance" for one in paused)
    assert refused("schedules", "resume", "a", "nowhere")[0] == "there is no schedule 'nowhere'"
    assert Schedule.objects.active().count() == 0
    assert callboard_json("schedules", "resume", "a", "b")["results"][0]["paused_at"] is None
    assert callboard_json("schedules", "remove", "a")["results"] == []
    assert [one.name for one in Schedule.objects.all()] == ["b"]


def test_a_schedule_that_code_declares_is_not_removed() -> None:
    make_schedule("a", is_declared=True)
    assert "pause it" in refused("schedules", "remove", "a")[0]


def test_a_schedule_runs_now_and_shows_its_task() -> None:
    make_schedule()
    id = callboard("schedules", "run", "hourly").strip()
    assert str(Task.objects.get().pk) == id
    assert callboard_json("schedules", "show", "hourly")["last_results"][0]["id"] == id
    assert id in callboard("schedules", "show", "hourly")


def test_a_preview_lists_fires() -> None:
    make_schedule(cron="0 6 * * *", timezone="Europe/Berlin")
    lines = callboard("schedules", "preview", "hourly", "--after", "2026-03-28T00:00:00Z", "--limit", "2").splitlines()
    assert lines[1:] == [
        "2026-03-28T05:00:00Z\t2026-03-28T06:00:00+01:00",
        "2026-03-29T04:00:00Z\t2026-03-29T06:00:00+02:00",
    ]
    assert "from 1 to 100" in refused("schedules", "preview", "hourly", "--limit", "0")[0]


def test_a_range_is_filled() -> None:
    make_schedule()
    words = ("schedules", "backfill", "hourly", "--start", "2026-01-01T00:00:00Z", "--end")
    assert callboard_json(*words, "2026-01-01T03:00:00Z")["fires"] == 4
    assert "wait for its end" in refused(*words, "2026-01-01T03:00:00Z")[0]
    assert "expected a date and time" in refused(*words, "tomorrow")[0]


def test_secrets_are_masked_unless_asked_for() -> None:
    make_schedule(actor="login", payload={"user": "ada", "password": "hunter2"})
    assert "hunter2" not in callboard("schedules", "show", "hourly")
    assert "hunter2" in callboard("schedules", "show", "hourly", "--show-secrets")
