"""Grafana's dashboards: as their generator writes them, and asking for metrics and labels that exist."""

import json
import re
import runpy
from html import escape
from pathlib import Path
from typing import Any
from xml.dom import minidom

import pytest
import yaml
from django.conf import settings

from tests.exported import all_series, exported, labels_in, names_in

GRAFANA = Path(settings.BASE_DIR, "deploy", "grafana")
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
PANELS: list[tuple[str, dict[str, Any]]] = [
    (f"{file.stem}: {panel['title']}", panel) for file in FILES for panel in json.loads(file.read_text())["panels"]
]
#: Labels of each scrape, and of histograms.
OF_SCRAPES = {"job", "instance", "process", "le"}

each_panel = pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=[name for name, _ in PANELS])


def test_the_files_are_what_the_generator_writes() -> None:
    generator = runpy.run_path(str(GRAFANA / "dashboards.py"))
    written = {f"{uid}.json": generator["written"](uid) for uid in generator["DASHBOARDS"]}
    found = {file.name: file.read_text() for file in FILES}
    assert found == written, "run: python deploy/grafana/dashboards.py"


@each_panel
def test_a_panel_asks_for_metrics_and_labels_that_exist(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        names = names_in(target["expr"])
        assert names
        assert names <= all_series()
        labels = {label for metric in exported() if metric.series & names for label in metric.labels} | OF_SCRAPES
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert labels_in(target["expr"]) <= labels
        assert shown <= labels


@each_panel
def test_gauges_of_the_database_are_not_added_up(panel: dict[str, Any]) -> None:
    """Each api reports the same: with two of them, a sum showed each task twice."""
    for target in panel["targets"]:
        for name in names_in(target["expr"]) & {
            "queue_size",
            "queue_oldest_age_seconds",
            "dead_letters",
            "active_workers",
        }:
            assert re.search(rf"max(?: by \([^)]*\))? ?\({name}\b", target["expr"])


def test_panels_do_not_overlap() -> None:
    for file in FILES:
        taken: set[tuple[int, int]] = set()
        for panel in json.loads(file.read_text())["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert place["x"] + place["w"] <= 24
            taken |= cells


def test_each_metric_is_in_a_dashboard() -> None:
    asked = {name for _, panel in PANELS for target in panel["targets"] for name in names_in(target["expr"])}
    assert not [metric.name for metric in exported() if not metric.series & asked]


def test_grafana_finds_the_source_that_the_panels_name() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for _, panel in PANELS} == {source["uid"]}
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/callboard.yml").read_text())["providers"]
    compose = yaml.safe_load(Path(settings.BASE_DIR, "docker-compose.yml").read_text())
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in compose["services"]["grafana"]["volumes"]


def test_a_dashboard_can_be_drawn_without_grafana_and_each_is_in_the_docs() -> None:
    pictures = runpy.run_path(str(GRAFANA / "pictures.py"))
    series = [({"queue": "<mail>", "status": "DEAD", "actor": "a", "view": "v"}, [(0.0, 1.0), (60.0, 3.0)])]
    pictures["drawn"].__globals__["ask"] = lambda *_, **__: series
    for file in FILES:
        drawing = pictures["picture"](json.loads(file.read_text()), "", start=0.0, end=60.0)
        # It is XML whatever labels hold.
        minidom.parseString(drawing)  # noqa: S318 - written a line above
        titles = [escape(panel["title"]) for panel in json.loads(file.read_text())["panels"]]
        assert all(title in drawing for title in titles)
        picture = Path(settings.BASE_DIR, "docs", "images", "dashboards", f"{file.stem}.svg").read_text()
        assert all(title in picture for title in titles), "draw it again"
