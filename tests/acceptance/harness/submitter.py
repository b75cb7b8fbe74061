"""A client in its own process: reads commands as JSON lines, calls lifecycle, answers with JSON lines.

A command is ``{"verb": "submit", "tasks": […]}`` (keyword arguments of ``Submission``), ``{"verb": "edit", "id": …,
"change": {…}}``, ``batch`` with tasks and callbacks, ``cancel`` or ``retry`` with an ``id``, or ``issue`` for a token
of a new user, a superuser or not.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any
from uuid import UUID


def main() -> None:
    """Serve commands until the input ends."""
    import django

    django.setup()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
        sys.stdout.flush()


def _answer(command: dict[str, Any]) -> dict[str, Any]:
    from django.db import DatabaseError, close_old_connections

    from tasks.errors import CallboardError

    close_old_connections()
    try:
        return {"answer": "ok", "result": _do(command)}
    except CallboardError as error:
        return {"answer": "failed", "error": str(error)}
    except DatabaseError as error:
        # The commit may have succeeded.
        return {"answer": "unknown", "error": str(error)}


def _submission(depends_on: Sequence[tuple[str, str]] = (), **fields: Any) -> Any:
    """Make a submission; a dependency is an id, a ref or ``batch:`` with an id, and ``on_failure``."""
    from tasks import lifecycle
    from tasks.states import OnFailure

    edges = []
    for name, on_failure in depends_on:
        batch = UUID(name.removeprefix("batch:")) if name.startswith("batch:") else None
        task = None if batch else _id_or_ref(name)
        edges.append(lifecycle.DependsOn(task, OnFailure(on_failure), batch))
    return lifecycle.Submission(**fields, depends_on=edges)


def _id_or_ref(task: str) -> UUID | str:
    try:
        return UUID(task)
    except ValueError:
        return task


def _do(command: dict[str, Any]) -> Any:
    from django.contrib.auth import get_user_model

    from tasks import lifecycle
    from tasks.lifecycle import NewBatch, batches
    from tasks.models import ApiToken

    match command["verb"]:
        case "submit":
            submissions = [_submission(**task) for task in command["tasks"]]
            return [str(task.id) for task in lifecycle.submit_many(submissions)]
        case "batch":
            tasks = [_submission(**task) for task in command["tasks"]]
            callbacks = {name: _submission(**task) for name, task in command["callbacks"].items()}
            created = batches.create(NewBatch(tasks=tasks, callbacks=callbacks))
            return {"id": str(created.batch.pk), "task_ids": [str(id) for id in created.task_ids]}
        case "cancel":
            return str(lifecycle.cancel(UUID(command["id"]), by=lifecycle.Author("client")))
        case "retry":
            return str(lifecycle.retry(UUID(command["id"]), by=lifecycle.Author("client")))
        case "edit":
            return str(lifecycle.edit(UUID(command["id"]), command["change"], by=lifecycle.Author("client")))
        case "issue":
            users = get_user_model().objects
            make = users.create_superuser if command["is_superuser"] else users.create_user
            return ApiToken.issue(user=make(command["user"]), name="acceptance")[1]
        case verb:
            raise ValueError(f"expected submit, cancel, retry, edit or issue, got {verb!r}")


if __name__ == "__main__":
    main()
