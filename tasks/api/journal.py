"""The REST API of the journal: who did what, through which door and why."""

from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api.addresses import page_as_dict, parameters
from tasks.api.permissions import caller_of
from tasks.api.views import ApiView
from tasks.contract.access import VIEW_JOURNAL, in_reach
from tasks.contract.filters import filtered
from tasks.contract.journal import FILTERS, NEWEST_FIRST, entry_as_dict
from tasks.contract.pages import page
from tasks.models import Journal


class JournalList(ApiView):
    """``GET journal``."""

    actions = {"GET": VIEW_JOURNAL}

    def get(self, request: Request) -> Response:
        """List what people, deploys and repairs did, newest first."""
        asked = parameters(request)
        rows = filtered(in_reach(Journal.objects.all(), caller_of(request)), asked, FILTERS)
        return Response(page_as_dict(request, page(rows, asked, order=NEWEST_FIRST), entry_as_dict))
