"""Which tasks a test has submitted, and assertions about them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db import connection
from dramatiq import Actor

from tasks import registry
from tasks.lifecycle import announcements
from tasks.models import Task
from tasks.payload import encode, is_same_json
from tasks.priority import parse_priority

#: An actor, or its name.
AnyActor = Actor[Any, Any] | str

#: How many other tasks a failure message lists.
_MOST_LISTED = 20


def submitted(actor: AnyActor | None = None, queue: str | None = None) -> list[Task]:
    """List the tasks in the test's database, as they are now, in the order of submission.

    A test starts without any, unless its fixtures or ``setUpTestData()`` submit some. It does not matter who submitted
    a task: the test, a view, an actor or a follow-up.
    """
    tasks = Task.objects.order_by("id")
    if actor is not None:
        tasks = tasks.filter(actor=_name(actor))
    return list(tasks if queue is None else tasks.filter(queue=queue))


def assert_submitted(
    actor: AnyActor,
    *,
    times: int | None = None,
    payload: Mapping[str, Any] | None = None,
    payload__contains: Mapping[str, Any] | None = None,
    queue: str | None = None,
    priority: int | str | None = None,
) -> list[Task]:
    """Fail unless the actor was submitted like this; return the tasks that were.

    Parameters:
        times: exactly so often; by default at least once.
        payload: all arguments by name, those that were passed by position too.
        payload__contains: some of them; of an object in it, some of its fields.
        priority: 1–10, or a band's name for its default.
    """
    # pytest then shows the line of the test.
    __tracebackhide__ = True
    wanted = {
        "payload": _plain(payload),
        "payload__contains": _plain(payload__contains),
        "queue": queue,
        "priority": None if priority is None else parse_priority(priority),
    }
    wanted = {name: value for name, value in wanted.items() if value is not None}
    name, everything = _name(actor), submitted()
    found = [task for task in everything if task.actor == name and _fits(task, wanted)]
    if (len(found) != times) if times is not None else not found:
        raise AssertionError(_complaint(name, times, wanted, found, everything))
    return found


def assert_not_submitted(actor: AnyActor, **like: Any) -> None:
    """Fail if the actor was submitted like this; takes what ``assert_submitted`` takes."""
    __tracebackhide__ = True
    assert_submitted(actor, times=0, **like)


def _name(actor: AnyActor) -> str:
    name = actor if isinstance(actor, str) else actor.actor_name
    registry.get(name)
    return name


def _plain(value: Any) -> Any:
    """Turn an expected value into what would be stored: tuples become lists."""
    return None if value is None else json.loads(encode(value))


# --- Comparison ---


def _arguments(task: Task) -> dict[str, Any]:
    return registry.arguments_by_name(task.actor, args=task.args, payload=task.payload)


def _fits(task: Task, wanted: Mapping[str, Any]) -> bool:
    checks: dict[str, Callable[[Any], bool]] = {
        "payload": lambda value: is_same_json(_arguments(task), value),
        "payload__contains": lambda value: _contains(_arguments(task), value),
        "queue": lambda value: task.queue == value,
        "priority": lambda value: task.priority == value,
    }
    return all(checks[name](value) for name, value in wanted.items())


def _contains(actual: Any, wanted: Any) -> bool:
    if isinstance(actual, dict) and isinstance(wanted, dict):
        return all(name in actual and _contains(actual[name], value) for name, value in wanted.items())
    return is_same_json(actual, wanted)


# --- Words ---


def _complaint(
    actor: str, times: int | None, wanted: Mapping[str, Any], found: list[Task], everything: list[Task]
) -> str:
    verb = "not to be submitted" if times == 0 else "to be submitted"
    number = {None: "", 0: "", 1: " once"}.get(times, f" {times} times")
    like = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
    lines = [f"expected {actor} {verb}{number}{like and f' with {like}'}, found {len(found) or 'none'}."]
    # Those of the actor first: one of them is probably the one that was meant.
    others = sorted(everything, key=lambda task: task.actor != actor)
    lines += ["Submitted were:" if others else "Nothing was submitted."]
    lines += [f"  {_described(task)}" for task in others[:_MOST_LISTED]]
    if len(others) > _MOST_LISTED:
        lines.append(f"  and {len(others) - _MOST_LISTED} more")
    if not found and (hooks := _hooks_of_test()):
        lines.append(
            f"{hooks} hooks of on_commit() have not run, because a test's transaction never commits: "
            "if one of them submits, use captureOnCommitCallbacks(execute=True)."
        )
    return "\n".join(lines)


def _described(task: Task) -> str:
    arguments = ", ".join(f"{name}={value!r:.200}" for name, value in _arguments(task).items())
    return f"{task.actor}({arguments})  queue={task.queue} priority={task.priority} {task.status}"


def _hooks_of_test() -> int:
    """Count hooks that wait for a commit, without those by which lifecycle announces what it wrote."""
    hooks: Sequence[Any] = connection.run_on_commit
    return sum(getattr(hook, "__module__", "") != announcements.__name__ for _, hook, _ in hooks)
