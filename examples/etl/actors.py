"""The actors of the pipeline: four sources, a task for each, and one that waits for all of them."""

from typing import Any

import dramatiq

from tasks import current

SOURCES = {"north": [3, 5, 8], "south": [13, 21], "east": [34], "west": []}


@dramatiq.actor
def extract_source(source: str) -> list[int]:
    """Read the rows of a source."""
    return SOURCES[source]


@dramatiq.actor(max_retries=0)
def transform_source(source: str) -> dict[str, Any]:
    """Add up the extracted rows. The first attempt for the south fails, so that there is something to repair."""
    if source == "south" and current.attempt() == 1:
        raise ConnectionError("the exchange rates of the south are not there yet")
    (extracted,) = current.parents()
    return {"source": source, "rows": len(extracted.result), "total": sum(extracted.result)}


@dramatiq.actor
def load_totals() -> dict[str, Any]:
    """Put the results of all sources together."""
    found = [parent.result for parent in current.parents()]
    return {"sources": [one["source"] for one in found], "total": sum(one["total"] for one in found)}
