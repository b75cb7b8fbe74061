"""The container files: valid, closed, without secrets, and in step with the code. No Docker is needed."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from scheduler_site import env, settings
from tasks.worker.grace_period import CLEAN_UP_SECONDS
from tasks.worker.supervisor import LAST_SECONDS
from tests import containers
from tests.containers import ROOT

COMPOSE = containers.compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"] == "callboard:local"}
ONE_SHOTS = {"secrets", "migrate"}
WORKERS = [name for name in SERVICES if name.startswith("worker_")]


def test_the_compose_file_is_valid() -> None:
    schema = json.loads((ROOT / "tests/vendor/compose-spec/compose-spec.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    broken = {**COMPOSE, "services": {"api": {**SERVICES["api"], "stop_grace": "45s"}}}
    assert not validator.is_valid(broken), "a schema that takes everything proves nothing"


def test_it_has_the_promised_services() -> None:
    assert set(SERVICES) == {
        "secrets", "migrate", "postgres", "redis", "rabbitmq", "api", "grpc", "scheduler", "worker_high",
        "worker_medium", "worker_low", "prometheus", "grafana",
    }  # fmt: skip
    replicas = {name: one["deploy"]["replicas"] for name, one in SERVICES.items() if "deploy" in one}
    assert replicas == {"scheduler": 2, "worker_high": 2, "worker_medium": 2, "worker_low": 2}


def test_rabbitmq_is_there_for_those_who_ask_for_it() -> None:
    profiles = {name: one["profiles"] for name, one in SERVICES.items() if "profiles" in one}
    assert profiles == {"rabbitmq": ["rabbitmq"], "prometheus": ["monitoring"], "grafana": ["monitoring"]}
    # Nothing waits for it: without the profile it would never come.
    assert not [name for name, one in SERVICES.items() if "rabbitmq" in one.get("depends_on", {})]
    assert set(SERVICES["api"]["environment"]["BUNDLED_HOSTS"].split(",")) == {"postgres", "redis", "rabbitmq"}


def test_only_the_doors_are_reachable_and_only_from_this_machine() -> None:
    ports = {name: containers.interpolated(one["ports"]) for name, one in SERVICES.items() if "ports" in one}
    assert ports == {
        "api": ["127.0.0.1:8000:8000"],
        "grpc": ["127.0.0.1:50051:50051"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }
    assert not [name for name, one in SERVICES.items() if one.get("network_mode", "none") != "none"]


def test_one_service_builds_the_image_and_all_others_wait_for_it() -> None:
    assert [name for name, one in SERVICES.items() if "build" in one] == ["secrets"]
    assert {one["pull_policy"] for one in OURS.values()} == {"never"}
    assert containers.in_order(SERVICES)[0] == "secrets"
    assert all(one["depends_on"] for name, one in SERVICES.items() if name != "secrets")


def test_our_containers_may_do_little() -> None:
    for name, one in OURS.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["init"] is True, name


def test_long_running_services_are_checked_and_restarted() -> None:
    for name, one in SERVICES.items():
        assert ("healthcheck" in one) == (name not in ONE_SHOTS), name
        assert one["restart"] == ("no" if name in ONE_SHOTS else "unless-stopped"), name


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_has_longer_to_stop_than_it_takes(name: str) -> None:
    needed = settings.SCHEDULER["SHUTDOWN_GRACE_SECONDS"] + max(CLEAN_UP_SECONDS, LAST_SECONDS)
    assert containers.seconds(SERVICES[name]["stop_grace_period"]) > needed
    assert SERVICES[name]["command"][-2:] == ["--bands", name.removeprefix("worker_")]


def test_no_file_of_the_repository_holds_a_secret() -> None:
    for name, one in SERVICES.items():
        for variable, value in one.get("environment", {}).items():
            is_secret = re.search("PASSWORD|SECRET|TOKEN|_URL", variable)
            assert not is_secret or variable.endswith("_FILE"), f"{name}: {variable}={value}"
    shown = re.findall(r"^[A-Z_]+=.*", (ROOT / ".env.example").read_text(), flags=re.M)
    assert shown == []


def shell_lines(*pages: str) -> list[list[str]]:
    """Give the words of each `docker compose` line in the examples of pages."""
    text = "\n".join((ROOT / page).read_text() for page in pages)
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) + re.findall(r"`(docker compose \w[^`\n]*)`", text)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].split() for line in lines if line.startswith("docker compose")]


def test_commands_of_the_pages_name_services_that_exist() -> None:
    lines = shell_lines("docs/operations.md", "docs/deploy.md", "UPGRADING.md")
    assert len(lines) > 10
    for _, _, verb, *words in lines:
        plain = [word.partition("=")[0] for word in words if not word.startswith("-")]
        if verb in {"run", "exec", "logs"}:
            assert plain[0] in SERVICES, words
        elif verb == "up":
            assert set(plain) <= set(SERVICES), words


def test_the_env_of_the_operations_page_is_accepted() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    (block,) = re.findall(r"^cat > \.env <<'END'\n(.*?)^END$", page, re.M | re.S)
    variables = dict(line.split("=", 1) for line in block.splitlines())
    assert set(variables) <= env.SETTINGS
    answer = subprocess.run(
        [sys.executable, "-c", "from scheduler_site import settings as s; print(s.HTTPS, s.ALLOWED_HOSTS)"],
        cwd=ROOT, env={"ENV_FILE": "/dev/null", **variables}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.stdout == "True ['board.example.org']\n", answer.stderr


def test_every_variable_has_a_default_and_is_explained() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / ".env.example").read_text()
    used = re.findall(r"\$\{(\w+)(:-[^}]+)?\}", text)
    assert used
    for name, default in used:
        assert default, f"{name}: a fresh clone does not set it"
        assert re.search(rf"^# ?{name}=", example, flags=re.M), f"{name} is not in .env.example"


def test_services_set_only_variables_that_the_settings_read() -> None:
    assert settings.DATABASES  # read, so all knobs are known
    assert {name for one in OURS.values() for name in one["environment"]} <= env.SETTINGS


def test_each_secret_goes_only_to_the_services_that_need_it() -> None:
    users: dict[str, set[str]] = {}
    for name, one in SERVICES.items():
        for volume in one.get("volumes", []):
            if not volume.startswith("./"):
                users.setdefault(volume.split(":")[0], set()).add(name)
    assert set(users) == set(COMPOSE["volumes"])
    assert users["postgres-secrets"] == {"secrets", "postgres"}
    assert users["redis-secrets"] == {"secrets", "redis"}
    assert users["rabbitmq-secrets"] == {"secrets", "rabbitmq"}
    assert users["grafana-secrets"] == {"secrets", "grafana"}
    assert users["credentials"] == {"migrate"}
    assert users["app-secrets"] == set(OURS)
    writers = [name for name, one in OURS.items() if "app-secrets:/secrets/app" in one["volumes"]]
    assert writers == ["secrets"]


def test_callboard_does_not_connect_as_the_superuser_of_postgresql() -> None:
    superuser, database = SERVICES["postgres"]["environment"]["POSTGRES_USER"], containers.role_sql()
    assert superuser != "callboard"
    assert [statement.split(" PASSWORD")[0] for statement in database] == [
        "CREATE ROLE callboard LOGIN",
        "CREATE DATABASE callboard OWNER callboard",
    ]


def test_nobody_logs_in_to_grafana_with_a_password_that_is_known() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/secrets/grafana/admin_password"
    assert "grafana-secrets:/secrets/grafana" in SERVICES["secrets"]["volumes"]
    assert not [name for name in environment if name.startswith("GF_AUTH_ANONYMOUS")]


def test_prometheus_scrapes_every_container_of_ours_at_the_port_where_it_serves_metrics() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (lookup,) = config["scrape_configs"][0]["dns_sd_configs"]
    assert set(lookup["names"]) == set(OURS) - ONE_SHOTS
    for name in lookup["names"]:
        environment = OURS[name]["environment"]
        address = environment.get("METRICS_ADDRESS", f"{environment['METRICS_HOST']}:{environment['METRICS_PORT']}")
        assert address == f"0.0.0.0:{lookup['port']}", name


def test_redis_keeps_its_data_and_drops_nothing() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_the_image_runs_without_root_and_without_compilers() -> None:
    stage = containers.final_stage()
    users = [rest for name, rest in stage if name == "USER"]
    assert users == ["10001:10001"]
    assert not any(re.search(r"apt-get|apk|gcc|build-essential|\bpip\b", rest) for name, rest in stage if name == "RUN")
    assert ("STOPSIGNAL", "SIGTERM") in stage
    assert containers.image_environment()["PYTHONUNBUFFERED"] == "1"


def test_folders_for_volumes_are_in_the_image_and_belong_to_its_user() -> None:
    made = " ".join(rest for name, rest in containers.final_stage() if name == "RUN")
    for one in OURS.values():
        for volume in one["volumes"]:
            assert f" {volume.split(':')[1]}" in made, volume


def test_the_image_has_everything_that_the_build_sees(tmp_path: Path) -> None:
    containers.make_image(tmp_path)
    copied = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert copied == {path for path in containers.context() if path.name != "requirements.txt"}


def test_the_build_sees_the_sources_and_nothing_private() -> None:
    names = {path.parts[0] for path in containers.context()}
    assert names == {
        "requirements.txt", "manage.py", "gunicorn.conf.py", "callboard", "scheduler_site", "tasks", "dlq", "templates",
    }  # fmt: skip
    assert not [path for path in containers.context() if path.suffix == ".pyc"]
