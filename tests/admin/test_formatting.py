"""Values as text and HTML."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

import tasks
from tasks.admin import formatting
from tasks.states import AttemptOutcome, Resolution, Status, WorkerStatus


def test_json_is_pretty_and_cut():
    shown = formatting.json_block({"user": "ü", "nested": [{"a": 1}]})
    assert "ü" in shown
    assert "\n  &quot;user&quot;" in shown
    long = formatting.json_block({"a": "x" * 50_000})
    assert len(long) < 20_000
    assert "more characters" in long


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (0.9, "now"),
        (7, "7 s ago"),
        (119, "119 s ago"),
        (121, "2 min ago"),
        (2 * 3600, "2 h ago"),
        (20 * 86_400, "20 d ago"),
        (-50.5, "in 50 s"),
    ],
)
def test_relative_times_have_a_unit_and_the_exact_time_as_tooltip(monkeypatch, seconds, text):
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    shown = formatting.relative_time(now - timedelta(seconds=seconds))
    assert f">{text}</time>" in shown
    assert 'title="2026-01-02 03:04:05 UTC"' in formatting.relative_time(now)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "<1 ms"),
        (0.0123, "12 ms"),
        (1.25, "1.2 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3_725, "1 h 2 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_have_their_two_largest_units(seconds, text):
    assert formatting.duration(seconds) == text


def test_invisible_characters_are_written_out():
    assert formatting.escape_invisible("a\u200bb\u202ec\x00\x1b[1m") == r"a\u200bb\u202ec\u0000\u001b[1m"
    assert formatting.escape_invisible("Grüße 👋\n\t") == "Grüße 👋\n\t"


def test_every_state_has_a_colour():
    css = (Path(tasks.__file__).parent / "static/callboard/admin.css").read_text()
    states = [*Status, *AttemptOutcome, *WorkerStatus]
    kinds = {state.value.lower().replace("_", "-") for state in states} | {one.name.lower() for one in Resolution}
    assert {kind for kind in kinds if f".badge-{kind}" not in css} == set()
