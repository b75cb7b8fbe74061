"""Writes the dashboards: ``python deploy/grafana/dashboards.py``; a test compares what it writes with what is there.

Gauges that come from the database are the same at each api, so queries take their maximum; counts and the gauges of
processes are each process's own, so queries add them up.
"""

import json
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

DATASOURCE = {"type": "prometheus", "uid": "callboard-prometheus"}
FOLDER = Path(__file__).with_name("dashboards")

COLUMNS = 24


class Panel(NamedTuple):
    """One panel; a ``stat`` shows the last value, a ``timeseries`` the way there."""

    title: str
    #: Legend by query.
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    description: str = ""


def stat(title: str, query: str, unit: str = "short", description: str = "") -> Panel:
    """Make a panel of one number."""
    return Panel(title, {query: ""}, unit, "stat", 4, description)


def _quantiles(metric: str, by: str = "") -> dict[str, str]:
    labels, legend = (f"le, {by}", f"{{{{{by}}}}} ") if by else ("le", "")
    return {
        f"histogram_quantile({quantile}, sum by ({labels}) (rate({metric}_bucket[5m])))": f"{legend}p{name}"
        for name, quantile in (("50", 0.5), ("95", 0.95), ("99", 0.99))
        if not by or name == "95"
    }


def _per_actor(counter: str) -> str:
    return f"sum by (actor) (rate({counter}[5m]))"


_FAILED = 'callboard_attempts_total{status=~"RETRYING|DEAD"}'
_UTILISATION = "sum(worker_busy_threads) / sum(worker_threads)"

DASHBOARDS: dict[str, tuple[str, list[Panel]]] = {
    "overview": (
        "Overview",
        [
            stat("Targets that answer", 'sum(up{job="callboard"})', description="Processes that Prometheus scrapes."),
            stat("Leader's term", "max(callboard_leader_term)", description="0: no scheduler leads."),
            stat("Live workers", "max(active_workers)"),
            stat("Busy threads", _UTILISATION, "percentunit"),
            stat("Oldest due task", "max(queue_oldest_age_seconds)", "s"),
            stat("Open dead letters", "sum(max by (actor) (dead_letters))"),
            Panel(
                "Tasks per second",
                {
                    "sum(rate(jobs_submitted_total[5m]))": "submitted",
                    "sum by (status) (rate(jobs_completed_total[5m]))": "{{status}}",
                },
                "ops",
            ),
            Panel("Tasks that have not ended", {"sum by (status) (max by (queue, status) (queue_size))": "{{status}}"}),
            Panel("Time that requests take", _quantiles("http_request_duration_seconds"), "s"),
            Panel(
                "Requests per second",
                {
                    "sum by (status) (rate(http_request_duration_seconds_count[5m]))": "HTTP {{status}}",
                    "sum by (code) (rate(grpc_request_duration_seconds_count[5m]))": "gRPC {{code}}",
                },
                "reqps",
            ),
            Panel("Slowest views", _quantiles("http_request_duration_seconds", "view"), "s"),
            Panel("Slowest gRPC methods", _quantiles("grpc_request_duration_seconds", "method"), "s"),
        ],
    ),
    "queues": (
        "Queues and latency",
        [
            Panel("Waiting", {'sum by (queue) (max by (queue, status) (queue_size{status!="RUNNING"}))': "{{queue}}"}),
            Panel("Running", {'max by (queue) (queue_size{status="RUNNING"})': "{{queue}}"}),
            Panel(
                "Age of the oldest due task",
                {"max by (queue, band) (queue_oldest_age_seconds)": "{{queue}} {{band}}"},
                "s",
                description="What waits in a paused queue counts too.",
            ),
            Panel(
                "Latency: from due to claimed",
                _quantiles("job_queue_latency_seconds"),
                "s",
                description="How long tasks were due before a worker took them.",
            ),
            Panel("Latency by queue, p95", _quantiles("job_queue_latency_seconds", "queue"), "s"),
            Panel("Submitted per second", {"sum by (queue) (rate(jobs_submitted_total[5m]))": "{{queue}}"}, "ops"),
            Panel("Ended per second", {"sum by (queue) (rate(jobs_completed_total[5m]))": "{{queue}}"}, "ops"),
            Panel(
                "Due tasks that no live worker can run",
                {"max by (queue, band) (callboard_unserved_tasks)": "{{queue}} {{band}}"},
            ),
            Panel("Paused queues", {"max by (queue) (callboard_queue_paused)": "{{queue}}"}),
        ],
    ),
    "workers": (
        "Workers",
        [
            stat("Live workers", "max(active_workers)"),
            stat("Threads", "sum(worker_threads)"),
            stat(
                "Threads in the registry",
                "max(callboard_registered_threads)",
                description="Less where not all are scraped.",
            ),
            stat("Busy", _UTILISATION, "percentunit"),
            stat("Unwritten outcomes", "sum(callboard_completer_backlog)"),
            stat("Releases", "count(count by (version) (callboard_build_info))"),
            Panel("Busy threads", {"sum(worker_busy_threads)": "busy", "sum(worker_threads)": "threads"}),
            Panel(
                "Utilisation by target",
                {"worker_busy_threads / (worker_threads > 0)": "{{instance}}"},
                "percentunit",
            ),
            Panel("Time that attempts run", _quantiles("job_execution_seconds"), "s"),
            Panel("Time by actor, p95", _quantiles("job_execution_seconds", "actor"), "s"),
            Panel(
                "Busiest actors: threads in use",
                {"topk(10, sum by (actor) (rate(job_execution_seconds_sum[5m])))": "{{actor}}"},
            ),
            Panel(
                "Attempts per second",
                {"topk(10, sum by (actor) (rate(callboard_attempts_total[5m])))": "{{actor}}"},
                "ops",
            ),
        ],
    ),
    "failures": (
        "Failures and retries",
        [
            Panel("Attempts by outcome", {"sum by (status) (rate(callboard_attempts_total[5m]))": "{{status}}"}, "ops"),
            Panel(
                "Share of attempts that fail",
                {f"{_per_actor(_FAILED)} / {_per_actor('callboard_attempts_total')}": "{{actor}}"},
                "percentunit",
            ),
            Panel("Retries per second", {"sum by (actor) (rate(job_retries_total[5m]))": "{{actor}}"}, "ops"),
            Panel(
                "Deaths in an hour", {'sum by (actor) (increase(jobs_completed_total{status="DEAD"}[1h]))': "{{actor}}"}
            ),
            Panel("Open dead letters", {"max by (actor) (dead_letters)": "{{actor}}"}),
            Panel(
                "Rescued, requeued and expired",
                {'sum by (verb) (rate(callboard_moves_total{verb=~"rescue|requeue|expire"}[5m]))': "{{verb}}"},
                "ops",
                description="Rescues: workers that were lost. Requeues: hints that the broker lost.",
            ),
            Panel(
                "Refused by a limit",
                {"sum by (limit) (rate(callboard_rate_limited_total[5m]))": "{{limit}}"},
                "reqps",
            ),
            Panel(
                "Requests that fail",
                {
                    'sum by (view) (rate(http_request_duration_seconds_count{status=~"5.."}[5m]))': "HTTP {{view}}",
                    'sum by (code) (rate(grpc_request_duration_seconds_count{code!="OK"}[5m]))': "gRPC {{code}}",
                },
                "reqps",
            ),
        ],
    ),
    "internals": (
        "Internals",
        [
            Panel(
                "Leader's term",
                {"callboard_leader_term > 0": "{{instance}}"},
                description="A step is a change of leader.",
            ),
            Panel("Lag of the dispatcher", {"max(callboard_scheduler_lag_seconds)": "lag"}, "s"),
            Panel("Hints in the broker", {"max by (queue, band) (callboard_window_hints)": "{{queue}} {{band}}"}),
            Panel(
                "Outcomes that wait to be written", {"max by (instance) (callboard_completer_backlog)": "{{instance}}"}
            ),
            Panel("Moves per second", {"sum by (verb) (rate(callboard_moves_total[5m]))": "{{verb}}"}, "ops"),
            Panel(
                "Errors of servers",
                {"sum by (server, part) (rate(callboard_server_errors_total[5m]))": "{{server}}: {{part}}"},
                "ops",
            ),
            Panel("Open circuits", {"max by (server) (callboard_circuit_open)": "{{server}}"}),
            Panel(
                "Age of the database's figures",
                {"max by (instance) (callboard_gauges_age_seconds)": "{{instance}}"},
                "s",
            ),
            Panel(
                "Releases", {"count by (version, python) (callboard_build_info)": "{{version}} on Python {{python}}"}
            ),
            Panel(
                "Time that a scrape takes",
                {'max by (process) (scrape_duration_seconds{job="callboard"})': "{{process}}"},
                "s",
            ),
        ],
    ),
}


def dashboard(uid: str) -> dict[str, Any]:
    """Write a dashboard as Grafana reads it."""
    title, panels = DASHBOARDS[uid]
    return {
        "uid": f"callboard-{uid}",
        "title": f"Callboard: {title}",
        "tags": ["callboard"],
        "timezone": "browser",
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "tags": ["callboard"],
                "title": "Callboard",
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": _placed(panels),
    }


def _placed(panels: list[Panel]) -> list[dict[str, Any]]:
    found, x, y, row = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        height = 4 if panel.kind == "stat" else 8
        if x + panel.width > COLUMNS:
            x, y, row = 0, y + row, 0
        found.append(_panel(panel, number, {"h": height, "w": panel.width, "x": x, "y": y}))
        x, row = x + panel.width, max(row, height)
    return found


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    is_stat = panel.kind == "stat"
    return {
        "id": number,
        "title": panel.title,
        "description": panel.description,
        "type": panel.kind,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "noValue": "no data"}, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}}
        if is_stat
        else {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {
                "refId": letter,
                "expr": query,
                "legendFormat": legend or "__auto",
                "datasource": DATASOURCE,
                "instant": is_stat,
                "range": not is_stat,
            }
            for letter, (query, legend) in zip(ascii_uppercase, panel.queries.items(), strict=False)
        ],
    }


def main() -> None:
    """Write all dashboards."""
    for uid in DASHBOARDS:
        (FOLDER / f"{uid}.json").write_text(written(uid))


def written(uid: str) -> str:
    """Write the text of a file."""
    return json.dumps(dashboard(uid), indent=1) + "\n"


if __name__ == "__main__":
    main()
