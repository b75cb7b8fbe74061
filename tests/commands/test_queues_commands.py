"""``callboard queues``."""

import pytest

from tasks.models import Queue
from tests.commands.cli import callboard_json, refused
from tests.factories import submit

pytestmark = pytest.mark.django_db


def test_queues_are_listed_paused_and_resumed(worker) -> None:
    submit()
    listed = {one["name"]: one for one in callboard_json("queues", "list")["results"]}
    assert listed["default"]["waiting"] == 1
    assert listed["default"]["threads"] == worker.threads
    (paused,) = callboard_json("queues", "pause", "default")["results"]
    assert paused["paused_at"] is not None
    assert Queue.objects.get(pk="default").paused_at is not None
    (resumed,) = callboard_json("queues", "resume", "default")["results"]
    assert resumed["paused_at"] is None


def test_an_unknown_queue_is_one_line() -> None:
    assert refused("queues", "pause", "default", "nowhere")[0] == "there is no queue 'nowhere'"
    assert Queue.objects.get(pk="default").paused_at is None
