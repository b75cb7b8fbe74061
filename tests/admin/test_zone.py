"""Times of the admin in the viewer's zone."""

import re
from datetime import datetime
from typing import Any

import pytest
from django.utils import timezone

from tasks.admin import zone
from tasks.models import Task
from tests import factories
from tests.admin.pages import html, list_of, page_of

NOON = "2030-01-01T12:00:00Z"


@pytest.fixture
def scheduled(db: None) -> Task:
    return factories.submit(run_at=datetime.fromisoformat(NOON))


@pytest.mark.parametrize(
    ("cookie", "shown", "tooltip"),
    [
        (None, "2030-01-01 12:00:00.000 UTC", "2030-01-01 12:00:00 UTC"),
        ("Asia/Tokyo", "2030-01-01 21:00:00.000 JST", "2030-01-01 21:00:00 JST · 2030-01-01 12:00:00 UTC"),
        ("Mars/Olympus", "2030-01-01 12:00:00.000 UTC", "2030-01-01 12:00:00 UTC"),
        ("../../etc/passwd", "2030-01-01 12:00:00.000 UTC", "2030-01-01 12:00:00 UTC"),
        ("A" * 3_000, "2030-01-01 12:00:00.000 UTC", "2030-01-01 12:00:00 UTC"),
    ],
)
def test_times_are_in_the_zone_of_the_cookie_with_utc_as_tooltip(
    root: Any, scheduled: Task, cookie: str | None, shown: str, tooltip: str
) -> None:
    if cookie is not None:
        root.cookies[zone.COOKIE] = cookie
    page = html(root.get(page_of(scheduled)))
    assert re.search(rf'<time datetime="2030-01-01T12:00:00\+00:00" title="{tooltip}">{shown}</time>', page)
    assert f'title="{tooltip}"' in html(root.get(list_of(Task)))


def test_one_viewers_zone_is_not_the_next_ones(root: Any, scheduled: Task) -> None:
    root.cookies[zone.COOKIE] = "Asia/Tokyo"
    assert "JST" in html(root.get(page_of(scheduled)))
    assert timezone.get_current_timezone_name() == "UTC"


def test_every_page_tells_its_zone(root: Any, db: None) -> None:
    for page in (html(root.get("/admin/")), html(root.get(list_of(Task)))):
        assert "callboard/zone.js" in page
