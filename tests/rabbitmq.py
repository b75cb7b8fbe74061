"""A private RabbitMQ for tests: one node with its own name, ports, data and cookie."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.processes import free_port
from scheduler_site.embedded.server import Server

HOW_TO_GET_RABBITMQ = "apt install rabbitmq-server, or set TEST_RABBITMQ_URL"
#: Debian's own folder first: what is on the PATH there insists on the account and the data of the system's node.
_FOLDERS = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/homebrew/sbin"), Path("/usr/local/sbin"))


class RabbitServer(Server):
    """A private RabbitMQ.

    Parameters:
        settings: further lines of rabbitmq.conf.
    """

    title = "RabbitMQ"
    gentle = signal.SIGTERM
    abrupt = signal.SIGKILL
    #: Erlang loads hundreds of modules, which takes a minute and more where others have the cores.
    patience_seconds = 180

    def __init__(self, folder: Path, *, settings: Sequence[str] = ()) -> None:
        super().__init__(folder)
        self.data = folder / "rabbitmq"
        self.settings = settings
        self._distribution_port = free_port()
        self._node = f"callboard-{self._distribution_port}@localhost"

    @staticmethod
    def program(name: str = "rabbitmq-server") -> Path | None:
        """Find a program of RabbitMQ."""
        found = [folder / name for folder in _FOLDERS if (folder / name).exists()]
        on_path = shutil.which(name)
        return found[0] if found else Path(on_path) if on_path else None

    @property
    def url(self) -> str:
        """``amqp://…`` with everything that a client needs."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    def start(self) -> str:
        """Start the node with the data it has; return its URL."""
        program = self.program()
        assert program is not None, HOW_TO_GET_RABBITMQ
        self._make_folder(self.data)
        config = self.data / "rabbitmq.conf"
        config.write_text("\n".join(["disk_free_limit.absolute = 1MB", "log.console = true", *self.settings]) + "\n")
        (self.data / "enabled_plugins").write_text("[].")
        self._run(program)
        return self.url

    def forget(self) -> None:
        """Remove the data of a node that was stopped."""
        shutil.rmtree(self.data)

    def control(self, *command: str) -> str:
        """Run ``rabbitmqctl``."""
        program = self.program("rabbitmqctl")
        assert program is not None, HOW_TO_GET_RABBITMQ
        account = self.account.as_options() if self.account else {}
        done = subprocess.run(
            ["env", *self._variables(), program, "--node", self._node, *command],
            cwd=self.folder, capture_output=True, text=True, check=True, timeout=60, **account,
        )  # fmt: skip
        return done.stdout

    def _command(self, program: Path) -> Sequence[str | Path]:
        return ["env", "-C", self.data, *self._variables(), program]

    def _variables(self) -> list[str]:
        variables = {
            "HOME": self.data,
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_DIST_PORT": self._distribution_port,
            "RABBITMQ_MNESIA_BASE": self.data / "mnesia",
            "RABBITMQ_LOG_BASE": self.data / "log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": self.data / "rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": self.data / "none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.data / "enabled_plugins",
            # The script becomes the node instead of watching over it, so that a kill -9 hits the node.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
            " -kernel inet_dist_use_interface {127,0,0,1}",
        }
        return [f"{name}={value}" for name, value in variables.items()]

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port or 0), timeout=1) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False


def require_rabbitmq() -> None:
    """Skip the test if there is no RabbitMQ; fail where there must be one."""
    if RabbitServer.program() is None:
        message = f"needs RabbitMQ: {HOW_TO_GET_RABBITMQ}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


@pytest.fixture(scope="session")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a RabbitMQ, in which each test has names of its own.

    A parallel run shares one node, because it takes seconds to start: the process that needs it first starts it, and
    stops it when no other uses it any more.
    """
    if given := os.environ.get("TEST_RABBITMQ_URL"):
        yield given
        return
    require_rabbitmq()
    of_run = (
        tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else tmp_path_factory.mktemp("x")
    )
    address, server = of_run / "rabbitmq.url", None
    with (of_run / "rabbitmq.starting").open("w") as starting, (of_run / "rabbitmq.using").open("w") as using:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not address.exists():
            server = RabbitServer(temporary_folder())
            address.write_text(server.start())
        fcntl.flock(using, fcntl.LOCK_SH)
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield address.read_text()
        if server is not None:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(using, fcntl.LOCK_EX)
            address.unlink()
            server.stop(immediate=True)
            shutil.rmtree(server.folder, ignore_errors=True)
