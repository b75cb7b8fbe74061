"""Gunicorn with this project's configuration around ``tests.echo``, and requests for it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from scheduler_site.embedded.processes import free_port
from tests.raw_http import Answer, connect, exchange
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
CLOSE = b"Host: a\r\nConnection: close\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\n" + CLOSE + b"\r\n"
THREADS = 2
CONNECTIONS = 30
#: Longer than any test would wait for.
PATIENCE_SECONDS = 30.0
ENVIRONMENT = {
    "WAIT_SECONDS": "0",
    "API_THREADS": str(THREADS),
    "API_CONNECTIONS": str(CONNECTIONS),
    "REQUEST_HEAD_SECONDS": str(PATIENCE_SECONDS),
    "MAX_BODY_BYTES": "1000000",
    "SECRET_KEY": "stage-key-of-32-characters-or-more",
}


class Server:
    """Gunicorn with this project's configuration around an echo."""

    def __init__(
        self, folder: Path, *arguments: str, bind: str = "", env: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.log = folder / "log"
        port = free_port()
        self.address: tuple[str, int] | str = bind or ("127.0.0.1", port)
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(
                        sys.executable,
                        "-m",
                        "gunicorn",
                        "tests.echo",
                        "--no-control-socket",
                        "--graceful-timeout",
                        "25",
                    ),
                    *("--bind", f"unix:{bind}" if bind else f"127.0.0.1:{port}", *arguments),
                ],
                cwd=ROOT,
                env={**os.environ, **ENVIRONMENT, **env},
                stdout=output,
                stderr=output,
            )
        wait_until(self.is_up, timeout=40, interval=0.05, what=self.log.read_text)

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Where it listens, unless that is a Unix socket."""
        assert isinstance(self.address, tuple)
        return self.address

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            connect(self.address).close()
        except OSError:
            return False
        return "Booting worker" in self.log.read_text()

    def exchange(self, *parts: bytes, pause: float = 0.0) -> Answer:
        return exchange(self.address, *parts, pause=pause)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(40)


def post(body: bytes, *, path: bytes = b"/x", fields: bytes = CLOSE, declared: int | None = None) -> bytes:
    length = len(body) if declared is None else declared
    return b"POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (path, fields, length, body)


def chunked(body: bytes, *, size: int, fields: bytes = CLOSE) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    encoded = b"".join(b"%X\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    return b"POST /x HTTP/1.1\r\n" + fields + b"Transfer-Encoding: chunked\r\n\r\n" + encoded


def sizes(answer: Answer) -> list[int]:
    return [json.loads(line)["size"] for line in answer.raw.splitlines() if line.startswith(b'{"method"')]
