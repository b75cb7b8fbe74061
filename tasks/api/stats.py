"""The REST API of statistics."""

from collections.abc import Mapping
from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api.addresses import parameters
from tasks.api.views import ApiView
from tasks.contract import fields
from tasks.contract.access import VIEW_STATS
from tasks.contract.stats import (
    DEFAULT_MINUTES,
    LONGEST_MINUTES,
    SERIES_PARAMETERS,
    series_as_dict,
    stats_as_dict,
)


class Stats(ApiView):
    """``GET stats``."""

    actions = {"GET": VIEW_STATS}

    PARAMETERS: ClassVar[Mapping[str, fields.Reader]] = {"minutes": fields.digits(1, LONGEST_MINUTES)}

    def get(self, request: Request) -> Response:
        """Count tasks by status, and measure throughput and latencies of the last ``minutes``."""
        asked = fields.read_parameters(parameters(request), self.PARAMETERS)
        return Response(stats_as_dict(minutes=asked.get("minutes", DEFAULT_MINUTES)))


class StatsSeries(ApiView):
    """``GET stats/series``."""

    actions = {"GET": VIEW_STATS}

    def get(self, request: Request) -> Response:
        """Count what came in and ended in each step of a window, with percentiles of waits and run times."""
        return Response(series_as_dict(**fields.read_parameters(parameters(request), SERIES_PARAMETERS)))
