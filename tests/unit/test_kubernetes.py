"""deploy/k8s: valid for two releases of Kubernetes, closed, without secrets, and in step with the code."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.core.management import load_command_class

from scheduler_site import env, settings
from tasks.telemetry import database_gauges
from tasks.worker.grace_period import CLEAN_UP_SECONDS
from tests import containers, kubernetes
from tests.kubernetes import PRODUCTION, SMALL, Object, container, of_kind, rendered, secret, settings_of, with_pods

SCHEMAS = sorted((containers.ROOT / "tests" / "vendor" / "kubernetes").glob("*.json"))
OVERLAYS = ["base", SMALL, PRODUCTION]
#: The fields of KEDA's ScaledObject that are used here; its schema is not at hand.
SCALED_OBJECT = {
    "scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod", "triggers",
}  # fmt: skip
PROCESSES = ["api", "grpc", "scheduler", "worker-high", "worker-low", "worker-medium"]


def ours(objects: list[Object]) -> list[Object]:
    return [one for one in with_pods(objects) if one["metadata"]["name"].startswith("callboard-")]


def pod(one: Object) -> Object:
    found: Object = one["spec"]["template"]["spec"]
    return found


def errors(one: Object, schema: Path) -> list[str]:
    bundle = json.loads(schema.read_text())
    name = bundle["kinds"][f"{one['apiVersion']}/{one['kind']}"]
    validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": bundle["$defs"]})
    return [f"{one['kind']} {one['metadata']['name']}: {error.json_path}: {error.message}" for error in
            validator.iter_errors(one)]  # fmt: skip


# --- Valid -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid(overlay: str, schema: Path) -> None:
    objects = [one for one in rendered(overlay) if one["kind"] != "ScaledObject"]
    assert len(objects) > 15
    assert [error for one in objects for error in errors(one, schema)] == []


def test_a_schema_that_takes_everything_proves_nothing() -> None:
    broken = json.loads(json.dumps(next(one for one in rendered("base") if one["kind"] == "Deployment")))
    container(broken)["livenessProb"] = {}
    pod(broken)["terminationGracePeriodSeconds"] = "50s"
    for schema in SCHEMAS:
        assert len(errors(broken, schema)) == 2


def test_two_releases_are_tried() -> None:
    assert len(SCHEMAS) == 2


def test_scaled_objects_have_known_fields_and_a_target() -> None:
    objects = rendered(PRODUCTION)
    deployments = {one["metadata"]["name"] for one in of_kind(objects, "Deployment")}
    scaled = of_kind(objects, "ScaledObject")
    assert {one["spec"]["scaleTargetRef"]["name"] for one in scaled} == {
        name for name in deployments if name.startswith("callboard-worker-")
    }
    for one in scaled:
        assert one["apiVersion"] == "keda.sh/v1alpha1"
        assert set(one["spec"]) <= SCALED_OBJECT
        (trigger,) = one["spec"]["triggers"]
        band = one["metadata"]["name"].rpartition("-")[2]
        oldest = f'queue_oldest_age_seconds{{band="{band}"}}'
        assert trigger["metadata"]["query"] == f"max({oldest} unless on (queue) callboard_queue_paused == 1)"
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert 0 < one["spec"]["minReplicaCount"] < one["spec"]["maxReplicaCount"]


def test_the_metric_that_workers_are_scaled_by_has_the_band() -> None:
    gauge = database_gauges.families()["queue_oldest_age_seconds"]
    gauge.add_metric(["mail", "low"], 1.0)
    assert gauge.samples[0].labels == {"queue": "mail", "band": "low"}


# --- Closed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", [SMALL, PRODUCTION])
def test_pods_may_do_little(overlay: str) -> None:
    """As the pod security standard `restricted` asks, which the namespace enforces, and a read-only file system."""
    (namespace,) = of_kind(rendered(overlay), "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for one in with_pods(rendered(overlay)):
        security = pod(one)["securityContext"]
        assert (security["runAsNonRoot"], security["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        assert security["runAsUser"] > 0
        assert container(one)["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert pod(one)["automountServiceAccountToken"] is False


def test_our_pods_run_as_the_user_of_the_image() -> None:
    user = dict(containers.final_stage())["USER"]
    for one in ours(rendered("base")):
        security = pod(one)["securityContext"]
        assert f"{security['runAsUser']}:{security['runAsGroup']}" == user


def test_services_of_the_cluster_set_no_variables() -> None:
    """A service named redis would set REDIS_PORT=tcp://…, which is a setting of ours."""
    for one in with_pods(rendered(SMALL)):
        assert pod(one)["enableServiceLinks"] is False


@pytest.mark.parametrize("overlay", [SMALL, PRODUCTION])
def test_nothing_goes_in_or_out_but_what_a_policy_names(overlay: str) -> None:
    policies = of_kind(rendered(overlay), "NetworkPolicy")
    (rest,) = [one for one in policies if not one["spec"]["podSelector"]]
    assert rest["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert all("from" in rule for rule in rest["spec"]["ingress"])
    open_ports = {
        port["port"] for one in policies if one is not rest for rule in one["spec"].get("ingress", [])
        if "from" not in rule for port in rule["ports"]
    }  # fmt: skip
    assert open_ports == {8000, 50051}


def test_no_file_of_the_repository_holds_a_secret() -> None:
    for overlay in ("base", PRODUCTION):
        assert of_kind(rendered(overlay), "Secret") == []
    assert "/deploy/k8s/overlays/small/secrets/" in (containers.ROOT / ".gitignore").read_text().splitlines()
    assert {one["metadata"]["name"] for one in of_kind(rendered(SMALL), "Secret")} == {"callboard", "postgres", "redis"}
    for overlay in OVERLAYS:
        for one in with_pods(rendered(overlay)):
            named = {name for name in settings_of(rendered(overlay), one) if "PASSWORD" in name or "SECRET" in name}
            assert all(name.endswith("_FILE") for name in named)


def test_callboard_does_not_connect_as_the_superuser_of_postgresql() -> None:
    role = containers.ROOT / "deploy" / "postgres" / "role.sql"
    assert (kubernetes.FOLDER / SMALL / "role.sql").read_text() == role.read_text()


# --- Whole -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", [SMALL, PRODUCTION])
def test_every_selector_and_every_name_finds_something(overlay: str) -> None:
    objects = rendered(overlay)
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in with_pods(objects)]
    for one in of_kind(objects, "Service", "PodDisruptionBudget", "Deployment", "StatefulSet"):
        selector = one["spec"]["selector"]
        wanted = selector.get("matchLabels", selector)
        found = [labels for labels in pods if wanted.items() <= labels.items()]
        assert len(found) == 1, f"{one['kind']} {one['metadata']['name']}"
    names = {(one["kind"], one["metadata"]["name"]) for one in objects}
    if overlay == PRODUCTION:
        # Made by hand, see its kustomization.yaml.
        names.add(("Secret", "callboard"))
    assert references(objects) <= names


def references(objects: list[Object]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for one in with_pods(objects):
        found |= {("ServiceAccount", pod(one)["serviceAccountName"])} if "serviceAccountName" in pod(one) else set()
        for source in container(one).get("envFrom", []):
            for kind, name in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                found |= {(name, source[kind]["name"])} if kind in source else set()
        for volume in pod(one).get("volumes", []):
            found |= {("Secret", volume["secret"]["secretName"])} if "secret" in volume else set()
            found |= {("ConfigMap", volume["configMap"]["name"])} if "configMap" in volume else set()
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_mounts_and_ports_are_there(overlay: str) -> None:
    for one in with_pods(rendered(overlay)):
        claims = [claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])]
        volumes = {volume["name"] for volume in pod(one).get("volumes", [])} | set(claims)
        assert {mount["name"] for mount in container(one)["volumeMounts"]} == volumes
    ports = {port["name"] for one in with_pods(rendered(overlay)) for port in container(one).get("ports", [])}
    for service in of_kind(rendered(overlay), "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_each_process_has_a_deployment_and_a_budget() -> None:
    assert sorted(one["metadata"]["name"] for one in of_kind(rendered("base"), "Deployment")) == [
        f"callboard-{name}" for name in PROCESSES
    ]
    assert sorted(one["metadata"]["name"] for one in of_kind(rendered("base"), "PodDisruptionBudget")) == [
        f"callboard-{name}" for name in PROCESSES
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_only_variables_that_the_settings_read(overlay: str) -> None:
    assert settings.DATABASES  # read, so all knobs are known
    for one in ours(rendered(overlay)):
        assert set(settings_of(rendered(overlay), one)) <= env.SETTINGS
    assert (
        {"SECRET_KEY", "DATABASE_URL", "BROKER_URL"}
        <= set(secret(rendered(SMALL), "callboard"))
        <= env.SETTINGS | {"RABBITMQ_URL"}
    )


def test_commands_are_those_of_compose() -> None:
    services = containers.interpolated(containers.compose()["services"])
    for one in of_kind(rendered("base"), "Deployment"):
        name = one["metadata"]["name"].removeprefix("callboard-").replace("-", "_")
        assert container(one)["command"] == services[name]["command"]


def test_the_job_migrates() -> None:
    (job,) = of_kind(rendered("base"), "Job")
    assert container(job)["command"] == ["python", "manage.py", "migrate", "--noinput"]
    load_command_class("django.core", "migrate").create_parser("manage.py", "migrate").parse_args(["--noinput"])


# --- In time ---------------------------------------------------------------------------------------------------------


def test_pods_have_longer_to_stop_than_they_take() -> None:
    services = containers.compose()["services"]
    for one in of_kind(rendered("base"), "Deployment"):
        name = one["metadata"]["name"].removeprefix("callboard-").replace("-", "_")
        pause = 5 if "lifecycle" in container(one) else 0
        given = pod(one)["terminationGracePeriodSeconds"] - pause
        assert given >= containers.seconds(services[name]["stop_grace_period"]), name
        if name.startswith("worker"):
            assert given > settings.SCHEDULER["SHUTDOWN_GRACE_SECONDS"] + CLEAN_UP_SECONDS


def test_probes_leave_time_to_start_and_to_replace_a_silent_worker_process() -> None:
    for one in of_kind(rendered("base"), "Deployment"):
        probes: dict[str, Any] = {name: container(one)[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
        start = probes["startup"]
        assert start["periodSeconds"] * start["failureThreshold"] > settings.SCHEDULER["WAIT_SECONDS"] + 30
        alive = probes["liveness"]
        assert alive["periodSeconds"] * (alive["failureThreshold"] - 1) > settings.SCHEDULER["WORKER_LEASE_SECONDS"] + 5
        ports = {port["name"] for port in container(one)["ports"]}
        assert {probe["httpGet"]["port"] for probe in probes.values()} <= ports
        assert (alive["httpGet"]["path"], probes["readiness"]["httpGet"]["path"]) == ("/healthz", "/readyz")
