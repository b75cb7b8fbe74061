"""deploy/k8s as kustomize puts it together."""

import base64
import functools
import io
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command

from tests.containers import ROOT

FOLDER = ROOT / "deploy" / "k8s"
SMALL, PRODUCTION = "overlays/small", "overlays/production"
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
        call_command("makesecrets", copy / SMALL / "secrets", stdout=io.StringIO())
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


def secret(objects: list[Object], name: str) -> dict[str, str]:
    """Give the entries of a secret."""
    (found,) = [one for one in of_kind(objects, "Secret") if one["metadata"]["name"] == name]
    return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}
