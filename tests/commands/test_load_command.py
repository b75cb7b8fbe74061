"""``callboard load``: the mix, the pace, the sum."""

import io
import json
from collections import Counter
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tasks.management.callboard.load import BATCH, Pace
from tasks.models import Task
from tasks.states import Status
from tests.factories import bring

pytestmark = pytest.mark.django_db


def load(*words: str) -> Any:
    out = io.StringIO()
    call_command("callboard", "load", *words, "--json", stdout=out, stderr=io.StringIO())
    return json.loads(out.getvalue())


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as caught:
        load(*words)
    return str(caught.value)


def test_the_mix_follows_the_weights() -> None:
    words = ["--actors", "echo=3", "sleep=1", "--priorities", "10=1", "low=1", "--failure-rate", "0.2"]
    summary = load("--count", "2000", "--seed", "1", *words)
    assert summary["tasks"] == Task.objects.tagged(summary["tag"]).count() == 2000
    assert summary["actors"]["demo_fail"] == pytest.approx(400, abs=80)
    assert summary["actors"]["echo"] == pytest.approx(1200, abs=120)
    assert summary["actors"]["sleep"] == pytest.approx(400, abs=80)
    assert set(summary["priorities"]) == {"10", "2"}
    assert summary["priorities"]["10"] == pytest.approx(1000, abs=120)
    assert summary["actors"] == dict(Counter(Task.objects.values_list("actor", flat=True)))


def test_what_shall_fail_fails_for_good() -> None:
    load("--count", "5", "--failure-rate", "1")
    assert set(Task.objects.values_list("actor", "max_retries")) == {("demo_fail", 0)}


def test_a_seed_draws_the_same_again() -> None:
    first, same, other = (load("--count", "300", "--seed", seed) for seed in ("7", "7", "8"))
    assert (first["actors"], first["priorities"]) == (same["actors"], same["priorities"])
    assert (first["actors"], first["priorities"]) != (other["actors"], other["priorities"])
    assert first["tag"] != same["tag"]


def test_other_actors_get_the_payload_given() -> None:
    load("--count", "2", "--actors", "act", "--payload", "do=return", "--queue", "other", "--tag", "mine")
    assert [(task.payload, task.queue, task.tags) for task in Task.objects.all()] == [
        ({"do": "return"}, "other", ["mine"])
    ] * 2


def test_the_default_is_a_thousand() -> None:
    assert load()["tasks"] == 1000


def test_waiting_counts_how_they_ended(worker, instead_of_sleep) -> None:
    def work(_: float) -> None:
        first, second = Task.objects.waiting_to_run()
        bring(first, Status.SUCCEEDED, worker)
        bring(second, Status.DEAD, worker)

    instead_of_sleep("tasks.management.callboard.load", work)
    summary = load("--count", "2", "--priorities", "5", "--wait")
    assert summary["ended"] == {"SUCCEEDED": 1, "DEAD": 1}
    assert summary["ended_per_second"] > 0


def test_ctrl_c_ends_it_with_the_sum_of_what_was(instead_of_sleep) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    instead_of_sleep("tasks.management.callboard.load", interrupt)
    out = io.StringIO()
    with pytest.raises(CommandError, match="stopped; the submitted tasks stay") as caught:
        call_command("callboard", "load", "--count", "9", "--wait", "--json", stdout=out, stderr=io.StringIO())
    assert caught.value.returncode == 130
    assert json.loads(out.getvalue())["tasks"] == 9


def test_at_a_rate_it_takes_its_time() -> None:
    summary = load("--rate", "100", "--duration", "0.3")
    assert summary["tasks"] == 30
    assert 0.25 < summary["submit_seconds"] < 2


@pytest.mark.parametrize(
    ("pace", "elapsed", "sent", "due", "is_over"),
    [
        (Pace(10, None, None), 0.0, 0, 10, False),
        (Pace(10, None, None), 0.0, 10, 0, True),
        (Pace(5000, None, None), 0.0, 1000, BATCH, False),
        (Pace(None, 100, 2), 1.0, 60, 40, False),
        (Pace(None, 100, 2), 9.0, 150, 50, True),
        (Pace(120, 100, 2), 2.0, 100, 20, True),
        (Pace(50, 100, None), 0.3, 20, 10, False),
        (Pace(None, None, 2), 1.0, 9000, BATCH, False),
        (Pace(None, None, 2), 2.0, 9000, BATCH, True),
        (Pace(None, 100_000, 2), 1.0, 0, BATCH, False),
    ],
)
def test_the_pace(pace: Pace, elapsed: float, sent: int, due: int, is_over: bool) -> None:
    assert pace.due(elapsed_seconds=elapsed, sent=sent) == due
    assert pace.is_over(elapsed_seconds=elapsed, sent=sent) == is_over


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--actors", "nobody"], "actor: no actor is declared as 'nobody'"),
        (["--actors", "echo=much"], "--actors: expected a weight above 0, got 'much'"),
        (["--priorities", "11"], "--priorities: expected a whole number from 1 to 10"),
        (["--failure-rate", "2"], "--failure-rate: expected 0 to 1, got 2"),
        (["--rate", "0"], "--rate: expected a number above 0, got 0"),
        (["--count", "0"], "--count: expected a whole number from 1"),
        (["--actors", "act"], "payload.do: the actor needs this argument"),
        (["--queue", "nowhere"], "no queue is called 'nowhere'"),
    ],
)
def test_a_wrong_option_is_one_line(words: list[str], says: str) -> None:
    message = refused("--count", "3", *words)
    assert says in message
    assert len(message.splitlines()) == 1
    assert not Task.objects.exists()


def test_plain_lines_say_the_same() -> None:
    out = io.StringIO()
    call_command("callboard", "load", "--count", "3", "--actors", "echo", stdout=out, stderr=io.StringIO())
    assert "tasks\t3\n" in out.getvalue()
    assert "actors echo\t3\n" in out.getvalue()


def test_the_same_mistake_in_all_of_them_is_told_thrice() -> None:
    assert refused("--count", "500", "--queue", "nowhere").endswith("; and 497 more")
