"""HTTP by hand: what is sent byte by byte, and all that comes back."""

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple


class Answer(NamedTuple):
    """All that a server sent before it closed the connection, and after how many seconds it did."""

    raw: bytes
    seconds: float

    @property
    def statuses(self) -> list[int]:
        """The status of each response, with those that only ask to go on."""
        return [int(line[9:12]) for line in self.raw.splitlines() if line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))]

    @property
    def body(self) -> bytes:
        """The last response's body."""
        return self.raw.rpartition(b"\r\n\r\n")[2]


def exchange(address: tuple[str, int] | str, *parts: bytes, pause: float = 0.0, timeout: float = 20) -> Answer:
    """Send parts with pauses in between and read until the server closes; a path means a Unix socket."""
    with connect(address, timeout=timeout) as sock:
        return talk(sock, parts, pause=pause)


def connect(address: tuple[str, int] | str, *, timeout: float = 20) -> socket.socket:
    """Open a connection."""
    if not isinstance(address, str):
        return socket.create_connection(address, timeout=timeout)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def talk(sock: socket.socket, parts: Iterable[bytes], *, pause: float = 0.0) -> Answer:
    """Send parts on a connection and read until the server closes it."""
    for index, part in enumerate(parts):
        time.sleep(pause if index else 0)
        sock.sendall(part)
    began, raw = time.monotonic(), bytearray()
    with suppress(ConnectionResetError):
        while data := sock.recv(65536):
            raw += data
    return Answer(bytes(raw), time.monotonic() - began)
