"""``TaskChange``, the new values of a task: a message cannot tell an empty list from one that is left out."""

from collections.abc import Mapping
from typing import Any

from tasks.errors import FieldError, InvalidTask


def read_change(given: Mapping[str, Any]) -> dict[str, Any]:
    """Write the message as the contract reads a change.

    Raises:
        InvalidTask: there are new tags, and they are to be taken away.
    """
    change = {name: value for name, value in given.items() if name != "clear_tags"}
    if not given.get("clear_tags"):
        return change
    if "tags" in change:
        raise InvalidTask(errors=[FieldError("clear_tags", "exclusive", "expected tags or clear_tags, got both")])
    return {**change, "tags": []}


def change_as_dict(change: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Write a change as the message has it."""
    return None if change is None else {**change, "clear_tags": change.get("tags") == []}
