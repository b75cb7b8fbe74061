"""``manage.py makesecrets``."""

import io
from pathlib import Path

from django.core.management import call_command

from scheduler_site.embedded.private import read_pairs
from tests.containers import compose


def make(folder: Path) -> dict[str, str]:
    """Run it; give what each file holds."""
    call_command("makesecrets", folder, stdout=io.StringIO())
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_each_server_gets_a_secret_and_the_app_all_addresses(tmp_path: Path) -> None:
    files = make(tmp_path)
    assert set(files) == {
        "app/callboard.env", "postgres/password", "postgres/superuser_password", "redis/redis.conf",
        "rabbitmq/rabbitmq.conf", "grafana/admin_password",
    }  # fmt: skip
    app = read_pairs(tmp_path / "app" / "callboard.env")
    assert f":{files['postgres/password'].strip()}@postgres:5432/" in app["DATABASE_URL"]
    assert files["redis/redis.conf"] == f"requirepass {app['BROKER_URL'].split(':')[2].partition('@')[0]}\n"
    assert app["REDIS_URL"] == app["BROKER_URL"]
    password, *rest = files["rabbitmq/rabbitmq.conf"].splitlines()
    assert rest == ["default_user = callboard", "log.console = true"]
    assert app["RABBITMQ_URL"] == f"amqp://callboard:{password.removeprefix('default_pass = ')}@rabbitmq:5672"


def test_a_second_run_keeps_everything(tmp_path: Path) -> None:
    assert make(tmp_path) == make(tmp_path)


def test_an_installation_of_before_gets_what_is_new_and_keeps_the_rest(tmp_path: Path) -> None:
    before = make(tmp_path)
    (tmp_path / "rabbitmq" / "rabbitmq.conf").unlink()
    lines = [line for line in before["app/callboard.env"].splitlines() if not line.startswith(("REDIS_", "RABBITMQ_"))]
    (tmp_path / "app" / "callboard.env").write_text("\n".join(lines) + "\n")
    after = make(tmp_path)
    assert set(after) == set(before)
    assert {name: after[name] for name in after if name.startswith(("postgres", "redis"))} == {
        name: before[name] for name in before if name.startswith(("postgres", "redis"))
    }
    assert set(lines) <= set(after["app/callboard.env"].splitlines())


def test_the_hosts_are_those_that_compose_calls_its_own(tmp_path: Path) -> None:
    make(tmp_path)
    urls = [url for name, url in read_pairs(tmp_path / "app" / "callboard.env").items() if name.endswith("_URL")]
    hosts = {url.rpartition("@")[2].partition(":")[0] for url in urls}
    assert hosts == set(compose()["services"]["api"]["environment"]["BUNDLED_HOSTS"].split(","))
