"""Other set-ups of Redis: over TLS with users, and behind Sentinel."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import redis

from scheduler_site.embedded.processes import free_port
from tasks.broker import redis_url
from tests.waiting import wait_until


class Server:
    """A redis-server of the operating system's packages with its own configuration."""

    def __init__(self, folder: Path, name: str, lines: Sequence[str], *arguments: str, url: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("needs redis-server on the PATH: apt install redis-server")
        self.url = url
        config = folder / f"{name}.conf"
        data = folder / name
        data.mkdir()
        config.write_text("\n".join([f"dir {data}", "bind 127.0.0.1", 'save ""', *lines]) + "\n")
        with (folder / f"{name}.log").open("w") as log:
            self._process = subprocess.Popen([program, str(config), *arguments], stdout=log, stderr=log)
        self._log = folder / f"{name}.log"
        wait_until(self._answers, what=lambda: f"{name} to answer: {self._log.read_text()[-500:]}")

    def stop(self, *, immediate: bool = False) -> None:
        """End it."""
        self._process.kill() if immediate else self._process.terminate()
        self._process.wait(10)

    def _answers(self) -> bool:
        if self._process.poll() is not None and "tls-port" in self._log.read_text():
            pytest.skip("this redis-server was built without TLS")
        try:
            return bool(redis_url.client(self.url, socket_timeout=1).ping())
        except redis.RedisError:
            return False


def over_tls(folder: Path) -> Server:
    """Start a Redis that only accepts TLS, and a user that may only touch keys with Callboard's prefix."""
    certificate, key, port = folder / "cert.pem", folder / "key.pem", free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    lines = [
        f"port 0\ntls-port {port}",
        f"tls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {certificate}\ntls-auth-clients no",
        "user default off\nuser worker on >s%cret ~callboard ~callboard:* &* +@all",
    ]
    url = f"rediss://worker:s%25cret@127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
    return Server(folder, "tls", lines, url=url)


class Sentinels:
    """A master, a replica, and a sentinel that promotes the replica."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(3)]
        password = "requirepass secret\nmasterauth secret"
        self.master = Server(folder, "master", [f"port {ports[0]}", password], url=_url(ports[0]))
        self.replica = Server(
            folder, "replica", [f"port {ports[1]}", password, f"replicaof 127.0.0.1 {ports[0]}"], url=_url(ports[1])
        )
        lines = [
            f"port {ports[2]}",
            f"sentinel monitor main 127.0.0.1 {ports[0]} 1",
            "sentinel auth-pass main secret",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 2000",
        ]
        self.url = f"redis+sentinel://:secret@127.0.0.1:{ports[2]}/main"
        self.sentinel = Server(folder, "sentinel", lines, "--sentinel", url=f"redis://127.0.0.1:{ports[2]}")
        client = redis.Redis.from_url(self.sentinel.url)
        wait_until(lambda: client.sentinel_slaves("main"), timeout=20, what="the sentinel to find the replica")

    def stop(self, *, immediate: bool = False) -> None:
        """End them all."""
        for server in (self.sentinel, self.replica, self.master):
            server.stop(immediate=immediate)


def _url(port: int) -> str:
    return f"redis://:secret@127.0.0.1:{port}/0"
