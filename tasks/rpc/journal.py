"""The method of the journal."""

from collections.abc import Mapping
from typing import Any

from tasks.contract.access import VIEW_JOURNAL, in_reach
from tasks.contract.filters import filtered
from tasks.contract.journal import FILTERS, NEWEST_FIRST, entry_as_dict
from tasks.contract.pages import page
from tasks.models import Journal
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.generated import journal_pb2 as pb
from tasks.rpc.messages import as_parameters
from tasks.rpc.pages import page_as_dict


def list_journal(call: Call, asked: Values) -> Mapping[str, Any]:
    """List what people, deploys and repairs did, newest first."""
    parameters = as_parameters(asked)
    rows = filtered(in_reach(Journal.objects.all(), call.caller), parameters, FILTERS)
    return page_as_dict("entries", page(rows, parameters, order=NEWEST_FIRST), entry_as_dict)


METHODS = {"ListJournal": Method(VIEW_JOURNAL, list_journal, pb.ListJournalRequest, pb.ListJournalResponse)}
