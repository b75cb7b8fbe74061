"""Sight: how much of a task's data a caller sees. Data is what submitters and actors wrote: payload, result, errors.

Owners see the data of their tasks as it is. Everybody else needs the permission to see payloads, and sees no secrets.
"""

from collections.abc import Callable, Collection
from enum import Enum
from functools import cache, cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from tasks import registry
from tasks.contract.access import VIEW_PAYLOAD, Caller
from tasks.errors import FieldError, InvalidTask
from tasks.masking import MASK, masked, masked_text, masked_with_secrets
from tasks.payload import is_same_json

if TYPE_CHECKING:
    from tasks.models import Schedule, Task


class Sight(Enum):
    """How much of a task's data a caller sees."""

    NOTHING = "nothing"
    MASKED = "masked"
    CLEAR = "clear"


#: Decides by the owner of a task; None is nobody.
Sees = Callable[[int | None], Sight]


def sight_of(caller: Caller) -> Sees:
    """Decide what a caller sees of their own and of other tasks; asks for the permission once, if at all."""
    own = caller.owner_id
    others = cache(lambda: Sight.MASKED if caller.is_permitted(VIEW_PAYLOAD) else Sight.NOTHING)
    return lambda owner_id: Sight.CLEAR if owner_id is not None and owner_id == own else others()


class Lens:
    """Shows the data of one task as a caller sees it.

    Parameters:
        task: its arguments tell which texts are secret wherever they stand; None if it is gone. Or a schedule, which
            has the payload of its tasks.
    """

    def __init__(self, sight: Sight, task: "Task | Schedule | None") -> None:
        self.sight = sight
        self._task = task

    @cached_property
    def _masked(self) -> tuple[dict[str, Any], Collection[str]]:
        """The arguments by name without their secrets, and the secrets."""
        task = self._task
        if task is None:
            return {}, ()
        return masked_with_secrets(registry.arguments_by_name(task.actor, args=task.args, payload=task.payload))

    def payload(self) -> Any:
        """Show the payload of the task; None if it is hidden."""
        task = self._task
        if task is None or self.sight is Sight.NOTHING:
            return None
        if self.sight is Sight.CLEAR:
            return task.payload
        return dict(list(self._masked[0].items())[len(task.args) :])

    def by_name(self) -> dict[str, Any] | None:
        """Show all arguments by name, positional ones too; None if they are hidden."""
        task = self._task
        if task is None or self.sight is Sight.NOTHING:
            return None
        if self.sight is Sight.CLEAR:
            return registry.arguments_by_name(task.actor, args=task.args, payload=task.payload)
        return dict(self._masked[0])

    def arguments(self) -> list[Any] | None:
        """Show the positional arguments of the task; None if they are hidden."""
        task = self._task
        if task is None or self.sight is Sight.NOTHING:
            return None
        if self.sight is Sight.CLEAR:
            return list(task.args)
        named = list(self._masked[0].items())[: len(task.args)]
        # Without a name nothing tells whether it is a secret.
        return [MASK if name.startswith("*") else value for name, value in named]

    def value(self, value: Any) -> Any:
        """Show a result, or other JSON of the task; None if it is hidden."""
        if value is None or self.sight is Sight.NOTHING:
            return None
        return value if self.sight is Sight.CLEAR else masked(value, known=self._masked[1])

    def text(self, text: str) -> str | None:
        """Show an error, or other text of the task; None if it is hidden."""
        if self.sight is Sight.NOTHING:
            return None
        # An empty text is answered first: finding the secrets of a task takes longer.
        return text if not text or self.sight is Sight.CLEAR else masked_text(text, known=self._masked[1])

    def hidden(self, *names: str) -> list[str]:
        """Name the fields that are null because they are hidden, of those that hold data."""
        return list(names) if self.sight is Sight.NOTHING else []


def keep_secrets(change: dict[str, Any], *, task: "Task | Schedule", lens: Lens) -> dict[str, Any]:
    """Leave the payload out of an edit if the caller sends back what they saw: then the stored one stays.

    Raises:
        InvalidTask: the payload differs and still has the mask in it; the stored secret must not go elsewhere with it.
    """
    if lens.sight is Sight.CLEAR or "payload" not in change:
        return change
    if is_same_json(change["payload"], lens.payload()):
        return {name: value for name, value in change.items() if name != "payload"}
    errors = masked_fields(
        change["payload"],
        "expected the value itself, got the mask; give it, or leave payload out to keep all",
        stored=task.payload,
    )
    if errors:
        raise InvalidTask(errors=errors)
    return change


def masked_fields(payload: Any, message: str, *, stored: Any = None) -> list[FieldError]:
    """List the values of a payload that are the mask, unless the stored one has the very same text there."""
    return [FieldError(path, "masked", message) for path in _masked_paths(payload, stored, "payload")]


def _masked_paths(given: Any, stored: Any, path: str) -> list[str]:
    """Find the mask in a payload, except where the stored one has the very same text."""
    if isinstance(given, dict):
        kept = stored if isinstance(stored, dict) else {}
        keys = [f"{path}.{key}" for key in given if MASK in key and key not in kept]
        return keys + [
            one for key, item in given.items() for one in _masked_paths(item, kept.get(key), f"{path}.{key}")
        ]
    if isinstance(given, list):
        pairs = zip_longest(given, stored[: len(given)] if isinstance(stored, list) else [])
        return [one for place, (item, old) in enumerate(pairs) for one in _masked_paths(item, old, f"{path}.{place}")]
    return [path] if isinstance(given, str) and MASK in given and given != stored else []
