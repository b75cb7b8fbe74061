"""The queues that a worker serves, from its command line."""

import pytest
from django.core.management.base import CommandError

from tasks import priority, registry
from tasks.management import serving


@pytest.mark.parametrize(
    ("queues", "bands", "served"),
    [
        ([], [], []),
        (["other"], [], ["other"]),
        (["other", "default.low"], [], ["other", "default.low"]),
        (["other", "default"], ["high"], ["other.high", "default.high"]),
        (["other"], ["low", "high"], ["other.low", "other.high"]),
        (["other.low", "default"], ["low"], ["other.low", "default.low"]),
        (["other.low", "default"], ["high"], ["default.high"]),
    ],
)
def test_queues_and_bands_name_the_served_broker_queues(queues: list[str], bands: list[str], served: list[str]) -> None:
    assert serving.served(queues, bands) == served


def test_a_band_alone_is_that_of_every_queue() -> None:
    assert serving.served([], ["high"]) == [f"{name}.high" for name in registry.queue_names()]


@pytest.mark.parametrize("name", ["defalut", "defalut.high", "default.urgent"])
def test_an_unknown_queue_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(CommandError, match=f"no actor declares {name}; declared are: .*default"):
        serving.served(["default", name], [])


def test_bands_that_leave_nothing_are_refused() -> None:
    with pytest.raises(CommandError, match=r"expected queues with the bands low, got other\.high"):
        serving.served(["other.high"], ["low"])


@pytest.mark.parametrize("names", [["default"], ["default.high", "default.low"], ["a.medium", "b", "c.low"]])
def test_shortened_names_mean_the_same_broker_queues(names: list[str]) -> None:
    meant = [band for name in names for band in priority.bands_named(name)]
    assert priority.shortest_names(meant) == names
