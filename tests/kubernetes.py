"""deploy/k8s as kustomize puts it together."""

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers import ROOT

FOLDER = ROOT / "deploy" / "k8s"
SMALL, PRODUCTION = "overlays/small", "overlays/production"
#: Of the secrets that the overlays expect; the real ones are made by ``makesecrets``.
SECRETS = {
    "app/callboard.env": "SECRET_KEY=k\nDATABASE_URL=postgres://callboard:p@postgres:5432/callboard\n"
    "BROKER_URL=redis://:r@redis:6379/0\n",
    "postgres/password": "p\n",
    "postgres/superuser_password": "s\n",
    "redis/redis.conf": "requirepass r\n",
}

Object = dict[str, Any]


@functools.cache
def rendered(overlay: str) -> list[Object]:
    """Give the objects of an overlay; without kustomize the test is skipped, and fails in CI."""
    program = shutil.which("kustomize") or shutil.which("kubectl")
    if program is None:
        missing = "needs kustomize or kubectl, which has it: https://kubernetes.io/docs/tasks/tools/"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    verb = "build" if program.endswith("kustomize") else "kustomize"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "k8s")
        shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("secrets"))
        for name, text in SECRETS.items():
            file = copy / SMALL / "secrets" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        answer = subprocess.run([program, verb, copy / overlay], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    return list(yaml.safe_load_all(answer.stdout))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Choose the objects of some kinds."""
    return [one for one in objects if one["kind"] in kinds]


def with_pods(objects: list[Object]) -> list[Object]:
    """Choose the objects that have pods."""
    return of_kind(objects, "Deployment", "StatefulSet", "Job")


def container(one: Object) -> Object:
    """Give the only container of an object's pods."""
    (found,) = one["spec"]["template"]["spec"]["containers"]
    result: Object = found
    return result


def settings_of(objects: list[Object], one: Object) -> dict[str, str]:
    """Give the variables of an object's container that are in the files, without those of secrets."""
    maps = {found["metadata"]["name"]: found["data"] for found in of_kind(objects, "ConfigMap")}
    variables: dict[str, str] = {}
    for source in container(one).get("envFrom", []):
        if "configMapRef" in source:
            variables |= maps[source["configMapRef"]["name"]]
    return variables | {pair["name"]: pair["value"] for pair in container(one).get("env", [])}
