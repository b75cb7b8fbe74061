"""The methods of dead letters: list, read, re-drive, discard, restore."""

from collections.abc import Mapping
from typing import Any

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.contract.access import (
    DISCARD_DEAD_LETTER,
    REDRIVE_DEAD_LETTER,
    RESTORE_DEAD_LETTER,
    VIEW_DEAD_LETTER,
    Action,
    find_owned,
    visible,
)
from tasks.contract.dead_letters import FILTERS, dead_letter_as_dict, lenses, permitted_payload, read_redrive
from tasks.contract.filters import filtered
from tasks.contract.pages import page
from tasks.contract.sight import Lens
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.generated import dead_letter_pb2 as pb
from tasks.rpc.messages import as_parameters
from tasks.rpc.pages import page_as_dict


def list_dead_letters(call: Call, asked: Values) -> Mapping[str, Any]:
    """List dead letters, newest first."""
    parameters = as_parameters(asked)
    rows = visible(DeadLetter.objects.all(), call.caller, VIEW_DEAD_LETTER)
    found = page(filtered(rows, parameters, FILTERS), parameters)
    seen = lenses(found.rows, sees=call.sees)
    return page_as_dict("dead_letters", found, lambda letter: _as_dict(letter, seen[letter.pk]))


def get_dead_letter(call: Call, asked: Values) -> Mapping[str, Any]:
    """Read one dead letter."""
    return {"dead_letter": _written(call, asked, VIEW_DEAD_LETTER)}


def redrive_dead_letter(call: Call, asked: Values) -> Mapping[str, Any]:
    """Re-drive a dead letter: run its task again with a fresh set of retries, and with this payload if given."""
    letter, by = _find(call, asked, REDRIVE_DEAD_LETTER), call.author(asked)
    _, payload = read_redrive({name: value for name, value in asked.items() if name != "id"})
    payload = permitted_payload(payload, letter=letter, caller=call.caller)
    status = lifecycle.redrive(letter.pk, by=by, admit=call.limit, payload=payload)
    return {"dead_letter": _written(call, asked, REDRIVE_DEAD_LETTER), "task_status": status}


def discard_dead_letter(call: Call, asked: Values) -> Mapping[str, Any]:
    """Discard a dead letter: resolve it without running its task again."""
    letter, by = _find(call, asked, DISCARD_DEAD_LETTER), call.author(asked)
    lifecycle.discard(letter.pk, by=by)
    return {"dead_letter": _written(call, asked, DISCARD_DEAD_LETTER)}


def restore_dead_letter(call: Call, asked: Values) -> Mapping[str, Any]:
    """Restore a discarded dead letter: open it again while its task is kept."""
    letter, by = _find(call, asked, RESTORE_DEAD_LETTER), call.author(asked)
    lifecycle.restore(letter.pk, by=by)
    return {"dead_letter": _written(call, asked, RESTORE_DEAD_LETTER)}


def _find(call: Call, asked: Values, action: Action) -> DeadLetter:
    rows, id = DeadLetter.objects.all(), asked.get("id", "")
    return find_owned(rows, id, call.caller, action, view=VIEW_DEAD_LETTER, kind="dead letter")


def _written(call: Call, asked: Values, action: Action) -> dict[str, Any]:
    letter = _find(call, asked, action)
    return _as_dict(letter, lenses([letter], sees=call.sees)[letter.pk])


def _as_dict(letter: DeadLetter, lens: Lens) -> dict[str, Any]:
    return dead_letter_as_dict(letter, url=str, task_url=str, lens=lens)


METHODS = {
    "ListDeadLetters": Method(
        VIEW_DEAD_LETTER, list_dead_letters, pb.ListDeadLettersRequest, pb.ListDeadLettersResponse
    ),
    "GetDeadLetter": Method(VIEW_DEAD_LETTER, get_dead_letter, pb.GetDeadLetterRequest, pb.GetDeadLetterResponse),
    "RedriveDeadLetter": Method(
        REDRIVE_DEAD_LETTER, redrive_dead_letter, pb.RedriveDeadLetterRequest, pb.RedriveDeadLetterResponse
    ),
    "DiscardDeadLetter": Method(
        DISCARD_DEAD_LETTER, discard_dead_letter, pb.DiscardDeadLetterRequest, pb.DiscardDeadLetterResponse
    ),
    "RestoreDeadLetter": Method(
        RESTORE_DEAD_LETTER, restore_dead_letter, pb.RestoreDeadLetterRequest, pb.RestoreDeadLetterResponse
    ),
}
