"""docs/metrics.md has a row for each metric, as code declares it."""

from pathlib import Path

from django.conf import settings

from tests.exported import Exported, exported


def test_the_page_has_each_metric_and_no_other() -> None:
    lines = Path(settings.BASE_DIR, "docs", "metrics.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| `")] == [row(metric) for metric in exported()]


def row(metric: Exported) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} |".replace("|  |", "| |")
