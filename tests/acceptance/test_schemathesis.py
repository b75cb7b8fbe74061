"""schemathesis attacks a running stack with what the API's description allows and forbids, and finds nothing.

It sends examples, edge cases, random input and chains of calls, and compares each answer with the description: its
status, headers and body; whether valid input is accepted and invalid input refused; whether a token is needed. A
failure is its report, with a curl command for each finding.

`make fuzz` lets each caller attack for SCHEMATHESIS_MINUTES; SCHEMATHESIS_SEED chooses another sequence.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness.api import Api
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import ROOT
from tests.waiting import wait_until

SECONDS = 60 * int(os.environ.get("SCHEMATHESIS_MINUTES", "0"))
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
#: Random cases per operation and kind, if there is no time to spend.
EXAMPLES = 5

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + 2 * SECONDS)]

CONFIG = Path(__file__).with_name("harness") / "schemathesis.toml"
TASKS = "/api/v1/tasks"
ENV = {
    "DJANGO_SETTINGS_MODULE": "scheduler_site.settings",
    "BUILTIN_ACTORS": "true",
    "SUBMIT_RATE_LIMIT": "0",
    # Most of the requests are meant to be refused, and the bounds in the description are those of everybody.
    "REFUSED_RATE_LIMIT": "0",
    "SUBMIT_MOST_RETRIES": "10000",
    "SUBMIT_LEAST_MIN_BACKOFF_SECONDS": "0",
    "SUBMIT_LEAST_MAX_BACKOFF_SECONDS": "0",
}


@pytest.fixture
def start(rig: Rig) -> Callable[..., Api]:
    """Start the whole stack; variables of the environment go to all of its processes."""
    # The tasks go through every door at any time, so there is nothing to verify.
    rig.was_verified = True

    def start(**env: str) -> Api:
        rig.start_scheduler(env=ENV | env)
        rig.start_workers(env=ENV | env)
        api = rig.start_api(env=ENV | env)
        rig.await_workers()
        return api

    return start


@pytest.mark.parametrize("caller", ["superuser", "plain user", "nobody"])
def test_schemathesis_finds_nothing(rig: Rig, start: Callable[..., Api], tmp_path: Path, caller: str) -> None:
    api = start()
    if caller == "plain user":
        api._token = rig.client.issue_token("plain", is_superuser=False)
    _write_ids(rig, api, tmp_path)
    # Nobody gets beyond the 401, so chains of calls would find nothing.
    phases = ["--phases", "examples,coverage"] if caller == "nobody" else []
    _attack(api, tmp_path, *phases, is_anonymous=caller == "nobody")


def test_schemathesis_finds_nothing_at_the_submission_limit(
    rig: Rig, start: Callable[..., Api], tmp_path: Path
) -> None:
    api = start(SUBMIT_RATE_LIMIT="3/h")
    _write_ids(rig, api, tmp_path)
    api._token = rig.client.issue_token("plain", is_superuser=False)
    _attack(api, tmp_path, "--include-operation-id", "submitTask", "--include-operation-id", "submitTasks")
    reply = api.call(TASKS, {"actor": "demo_ok"})
    assert reply.status == 429, f"the limit was never reached: {reply.headers}"


def _write_ids(rig: Rig, api: Api, folder: Path) -> None:
    """Submit tasks that come to different ends, and write the ids that schemathesis chooses from."""
    tasks = [
        *({"actor": "demo_ok", "delay_seconds": 3600} for _ in range(8)),
        *({"actor": "demo_ok"} for _ in range(3)),
        # Too old before they start: all tasks are of one actor, whose payload the description has.
        *({"actor": "demo_ok", "delay_seconds": 1, "max_age_seconds": 0.01} for _ in range(5)),
    ]
    ids = {
        "tasks": [one["id"] for one in api.call(f"{TASKS}/bulk", {"tasks": tasks}).body["tasks"]],
        "workers": [one.id for one in rig.database.present_workers()],
        "queues": ["default"],
        "letters": [],
    }

    def have_died() -> bool:
        ids["letters"] = [one["id"] for one in api.call("/api/v1/dlq").body["results"]]
        return len(ids["letters"]) == 5

    wait_until(have_died, timeout=30, what="five dead letters")
    for name, values in ids.items():
        (folder / f"{name}.txt").write_text("\n".join(map(json.dumps, values)))


def _attack(api: Api, folder: Path, *arguments: str, is_anonymous: bool = False) -> None:
    """Run schemathesis with more arguments of its command line; fail with its report if it found anything."""
    document, config = folder / "openapi.json", folder / CONFIG.name
    document.write_text(json.dumps(narrowed(api.call("/api/schema").body)))
    # Beside the files of ids, which it names.
    shutil.copyfile(CONFIG, config)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", str(document)]
    command += ["--url", api._root, "--seed", SEED, "--no-color", "--output-sanitize", "false", *arguments]
    command += ["--max-time", str(SECONDS)] if SECONDS else ["--max-examples", str(EXAMPLES)]
    command += [] if is_anonymous else ["--header", f"Authorization: Bearer {api._token}"]
    run = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    if run.returncode:
        pytest.fail(f"{run.stdout}\n{run.stderr}", pytrace=False)


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """Add to a description what only this installation knows: its actors and queues. No status is left undescribed."""
    for path in document["paths"].values():
        for method, operation in path.items():
            if method != "parameters":
                del operation["responses"]["default"]
                for parameter in operation["parameters"]:
                    if parameter["name"] == "If-Match":
                        parameter["schema"]["format"] = "entity-tags"
    schemas = document["components"]["schemas"]
    one_of_many = schemas["BulkSubmission"]["properties"]["tasks"]["items"]
    for schema in (schemas["Submission"], one_of_many, schemas["Edit"], schemas["Replacement"]):
        fields = schema["properties"]
        text = {key: value for key, value in fields["queue"].items() if key == "pattern"}
        if "actor" in fields:
            fields["actor"] = {"enum": ["demo_ok"]}
        fields["payload"] = {
            "type": "object", "properties": {"msg": {"type": "string", **text}}, "additionalProperties": False,
        }  # fmt: skip
        fields["queue"] = {"enum": ["default"] if "actor" not in fields else ["default", None]}
    return document
