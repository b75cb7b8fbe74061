"""Races for a unique key: one task has it, nobody gets an error, and nobody deadlocks."""

import random
import threading
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from tasks import lifecycle
from tasks.lifecycle import Submission
from tasks.models import Task
from tasks.states import FINAL, Status
from tests.factories import claim, dispatch, dispatch_due, make_worker, outcome, submit

RETURN = {"key": "one"}
UNTIL = ("started", "finished")
TTLS = (None, None, 0.001)


def of_keys(*keys: str, **unique: Any) -> list[Submission]:
    return [Submission(actor="act", payload={"do": "return"}, unique={"key": key, **unique}) for key in keys]


def test_of_many_submissions_at_once_one_is_created_and_the_others_find_it(race) -> None:
    tasks = race.together(*[partial(submit, unique=RETURN)] * 12)
    assert sorted(task.submitted_as for task in tasks) == ["created"] + ["existing"] * 11
    assert len({task.pk for task in tasks}) == Task.objects.count() == 1


def test_a_key_that_is_not_committed_makes_others_wait_and_a_rollback_gives_it_away(race) -> None:
    def roll_back() -> None:
        with transaction.atomic():
            submit(unique=RETURN)
            transaction.set_rollback(True)

    _, second = race.while_open(roll_back, partial(submit, unique=RETURN))
    assert (second.submitted_as, Task.objects.count()) == ("created", 1)


def test_a_claim_between_two_looks_frees_a_key_that_is_had_until_the_start(race) -> None:
    rule, worker = {**RETURN, "until": "started"}, make_worker()
    first = submit(unique=rule)
    hint = dispatch(first)
    _, second = race.while_open(partial(claim, hint, worker), partial(submit, unique=rule))
    assert (second.submitted_as, second.pk == first.pk) == ("created", False)


def test_a_task_that_ends_between_the_insertion_and_the_look_gives_its_key_to_the_next_round(race, monkeypatch) -> None:
    from tasks.lifecycle import submit_unique

    first, look = submit(unique=RETURN), submit_unique._follow

    def end_first(rows: Any) -> Any:
        if rows:
            monkeypatch.setattr(submit_unique, "_follow", look)
            race.together(partial(lifecycle.cancel, first.pk))
        return look(rows)

    monkeypatch.setattr(submit_unique, "_follow", end_first)
    second = submit(unique=RETURN)
    assert (second.submitted_as, second.pk == first.pk) == ("created", False)


def test_a_task_that_is_deleted_after_the_look_gives_its_key_to_the_next_round(race, monkeypatch) -> None:
    from tasks.lifecycle import submit_unique

    first, look = submit(unique=RETURN), submit_unique._follow

    def delete_then(rows: Any) -> Any:
        found = look(rows)
        monkeypatch.setattr(submit_unique, "_follow", look)
        race.together(partial(lifecycle.delete, first.pk))
        return found

    monkeypatch.setattr(submit_unique, "_follow", delete_then)
    second = submit(unique=RETURN)
    assert (second.submitted_as, second.pk == first.pk) == ("created", False)


@pytest.mark.parametrize("on_conflict", ["return", "replace"])
def test_calls_with_the_same_keys_in_any_order_do_not_deadlock_beside_an_engine(race, on_conflict: str) -> None:
    """Without the order of keys this ends in deadlocks within a second."""
    keys, worker, is_over = [f"key-{number}" for number in range(30)], make_worker(threads=100), threading.Event()

    def submitter(seed: int) -> int:
        choose, created = random.Random(seed), 0
        for _ in range(12):
            wanted = choose.choices(keys, k=15)
            rule = {"on_conflict": on_conflict, "until": choose.choice(UNTIL), "ttl_seconds": choose.choice(TTLS)}
            tasks = lifecycle.submit_many(of_keys(*wanted, **rule))
            created += sum(task.submitted_as == "created" for task in tasks)
        return created

    def engine() -> int:
        done = 0
        hints: list[Any] = []
        while not is_over.is_set() or Task.objects.exclude(status__in=FINAL).exists():
            hints += dispatch_due()
            claims = lifecycle.claim_many(hints, worker_id=worker.pk)
            # A task that a submission has locked is claimed later, as a worker keeps its hint.
            hints = [hint for hint in hints if hint.task_id not in {one.id for one in claims}]
            done += len(lifecycle.complete_many([outcome(one, worker) for one in claims], waits=True))
        return done

    def submitters() -> list[Any]:
        results: list[Any] = []
        threads = [threading.Thread(target=lambda seed=seed: results.append(guarded(seed))) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        is_over.set()
        return results

    def guarded(seed: int) -> Any:
        from django.db import connections

        try:
            return submitter(seed)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error
        finally:
            connections.close_all()

    created, done = race.together(submitters, engine, timeout=50)
    assert all(isinstance(one, int) for one in created), created
    assert done == sum(created) == Task.objects.filter(status=Status.SUCCEEDED).count()
