"""The methods of statistics."""

from collections.abc import Mapping
from typing import Any

from tasks.contract import fields
from tasks.contract.access import VIEW_STATS
from tasks.contract.stats import DEFAULT_MINUTES, LONGEST_MINUTES, SERIES_PARAMETERS, series_as_dict, stats_as_dict
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.generated import stats_pb2 as pb
from tasks.rpc.messages import as_parameters

_PARAMETERS: Mapping[str, fields.Reader] = {"minutes": fields.digits(1, LONGEST_MINUTES)}


def get_stats(call: Call, asked: Values) -> Mapping[str, Any]:
    """Count tasks by status, and measure throughput and latencies of the last minutes."""
    read = fields.read_parameters(as_parameters(asked), _PARAMETERS)
    return stats_as_dict(minutes=read.get("minutes", DEFAULT_MINUTES))


def get_stats_series(call: Call, asked: Values) -> Mapping[str, Any]:
    """Count what came in and ended in each step of a window, with percentiles of waits and run times."""
    return series_as_dict(**fields.read_parameters(as_parameters(asked), SERIES_PARAMETERS))


METHODS = {
    "GetStats": Method(VIEW_STATS, get_stats, pb.GetStatsRequest, pb.GetStatsResponse),
    "GetStatsSeries": Method(VIEW_STATS, get_stats_series, pb.GetStatsSeriesRequest, pb.GetStatsSeriesResponse),
}
