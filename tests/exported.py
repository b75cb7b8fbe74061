"""What ``/metrics`` can have, as code declares it, and the names in a query of Prometheus."""

import re
from typing import NamedTuple

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from tasks.telemetry import database_gauges, metrics

#: Words of PromQL that look like names of metrics.
_WORDS = frozenset(
    [
        "and",
        "or",
        "unless",
        "on",
        "by",
        "without",
        "ignoring",
        "group_left",
        "group_right",
        "bool",
        "offset",
        "inf",
        "nan",
    ]
)
#: Made by Prometheus for each scrape.
OF_PROMETHEUS = frozenset({"up", "scrape_duration_seconds"})


class Exported(NamedTuple):
    """A metric."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str

    @property
    def series(self) -> set[str]:
        """The names under which Prometheus stores it."""
        return (
            {f"{self.name}_{part}" for part in ("bucket", "sum", "count")} if self.type == "histogram" else {self.name}
        )


def exported() -> list[Exported]:
    """List every metric, by name."""
    kept = [
        Exported(_written_name(one), str(one._type), one._labelnames, one._documentation)
        for one in vars(metrics).values()
        if isinstance(one, MetricWrapperBase)
    ]
    families: list[Metric] = [
        *metrics.build_info.collect(),
        *metrics.circuits.collect(),
        *database_gauges.families().values(),
    ]
    read = [Exported(one.name, str(one.type), tuple(one._labelnames), one.documentation) for one in families]  # type: ignore[attr-defined]
    return sorted([*kept, *read])


def _written_name(metric: MetricWrapperBase) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else metric._name


def all_series() -> set[str]:
    """Name everything that a query may ask for."""
    return {name for metric in exported() for name in metric.series} | OF_PROMETHEUS


def names_in(query: str) -> set[str]:
    """Find the names of metrics in a query."""
    bare = re.sub(r'"[^"]*"', "", query)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    return set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)) - _WORDS


def labels_in(query: str) -> set[str]:
    """Find the labels that a query selects or groups by."""
    selected = re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', query)
    grouped = [name for names in re.findall(r"\b(?:by|without|on)\s*\(([^)]*)\)", query) for name in names.split(",")]
    return {*selected, *(name.strip() for name in grouped)} - {""}
