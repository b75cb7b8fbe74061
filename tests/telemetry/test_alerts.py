"""The alert rules: they ask for metrics that exist, fire and clear, and each has a page that helps."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from tests.exported import all_series, exported, labels_in, names_in

PROMETHEUS = Path(settings.BASE_DIR, "deploy", "prometheus")
RUNBOOKS = Path(settings.BASE_DIR, "docs", "runbooks")
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
#: Labels of each scrape, and of histograms.
OF_SCRAPES = {"job", "instance", "process", "le"}

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        # In CI a missing program must not look like rules that hold.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("promtool is missing: apt install prometheus")
    return subprocess.run([str(program), *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60)


@each_rule
def test_a_rule_asks_for_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    names = names_in(rule["expr"])
    assert names
    assert names <= all_series()
    labels = {label for metric in exported() if metric.series & names for label in metric.labels}
    assert labels_in(rule["expr"]) <= labels | OF_SCRAPES


@each_rule
def test_a_rule_has_a_page_that_names_it(rule: dict[str, Any]) -> None:
    page = Path(settings.BASE_DIR, rule["annotations"]["runbook_url"])
    assert page.parent == RUNBOOKS
    text = page.read_text()
    assert f"Alert `{rule['alert']}` ({rule['labels']['severity']})" in text
    assert re.findall("^## .*", text, re.M) == ["## First look", "## Fix", "## Verify"]
    index = (RUNBOOKS / "README.md").read_text()
    assert f"| `{rule['alert']}` | {rule['labels']['severity']} | [" in index
    assert f"({page.name})" in index


def test_each_page_is_of_a_rule() -> None:
    pages = {Path(rule["annotations"]["runbook_url"]).name for rule in RULES}
    assert {page.name for page in RUNBOOKS.glob("*.md")} == pages | {"README.md"}


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_names_metrics_that_exist(page: Path) -> None:
    quoted = re.findall(
        r"`((?:jobs?|callboard|queue|worker|http_request|grpc_request|dead)_[^`]*|\w+\(.*?\))`", page.read_text()
    )
    for query in quoted:
        assert names_in(query) <= all_series(), query


def test_each_rule_is_seen_firing_and_clearing() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    seen = {
        one["alertname"]: [bool(case["exp_alerts"]) for case in test["alert_rule_test"]]
        for test in tests
        for one in test["alert_rule_test"]
    }
    assert seen == {rule["alert"]: [True, False] for rule in RULES}


def test_the_rules_fire_and_clear_as_written() -> None:
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration() -> None:
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_query_of_nothing_that_exists_is_found() -> None:
    assert names_in('sum by (queue) (rate(nothing_total{queue="mail"}[5m])) > 3') == {"nothing_total"}
    assert labels_in('max by (queue, band) (x{actor=~"a|b"})') == {"queue", "band", "actor"}


def test_the_autoscaler_asks_for_metrics_that_exist_and_not_for_paused_queues() -> None:
    file = Path(settings.BASE_DIR, "deploy", "k8s", "components", "keda", "workers.yaml")
    queries = [
        trigger["metadata"]["query"]
        for one in yaml.safe_load_all(file.read_text())
        for trigger in one["spec"]["triggers"]
        if trigger["type"] == "prometheus"
    ]
    assert len(queries) == 3
    for query in queries:
        assert names_in(query) == {"queue_oldest_age_seconds", "callboard_queue_paused"} <= all_series()
