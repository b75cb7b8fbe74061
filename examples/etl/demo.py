"""Nine tasks: the load waits for four transformations, each of which waits for its extraction."""

from examples.etl.actors import SOURCES
from tasks.lifecycle import DependsOn, Submission, submit_many
from tasks.models import Task

WATCH = """\
manage.py callboard tasks workflow {load}              # one transformation dies, and the load with it
manage.py callboard tasks retry {load} --workflow      # runs the failed part again, and nothing else
manage.py callboard tasks show {load}                  # the result of all four sources"""


def start() -> dict[str, Task]:
    """Submit the pipeline."""
    work = []
    for source in SOURCES:
        extraction, transformation = f"extract {source}", f"transform {source}"
        work += [
            Submission(actor="extract_source", payload={"source": source}, ref=extraction),
            Submission(
                actor="transform_source",
                payload={"source": source},
                ref=transformation,
                depends_on=[DependsOn(extraction)],
            ),
        ]
    ends = [DependsOn(f"transform {source}") for source in SOURCES]
    *_, load = submit_many([*work, Submission(actor="load_totals", depends_on=ends)])
    return {"load": load}
