"""A connection that holds one deadline: look-up, connect, handshake, and each send and receive end by it.

A socket's time-out bounds one call. A server that sends a byte now and then, in a header, a chunk size or anywhere
else, never exceeds it; so each call here gets the time that is left. ``http.client`` reads and writes a ``Wire`` as if
it were a socket.
"""

import io
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from typing import Any

from tasks.public_addresses import Address

#: For one address; a name may have more of them, and the next one may answer.
CONNECT_SECONDS = 5.0


class Deadline:
    """A moment by which all must be done."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._at = seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            TimeoutError: there are none.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no complete answer within {self._seconds:g} s")
        return left


class Wire(io.RawIOBase):
    """An open connection."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline
        #: How many bytes have arrived.
        self.received = 0

    def encrypt(self, host: str) -> None:
        """Start TLS, and check that the server's certificate is one of the host."""
        self._sock.settimeout(self._deadline.left())
        self._sock = ssl.create_default_context().wrap_socket(self._sock, server_hostname=host)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the stream to read from, as a socket does."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Tell ``io`` that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive some bytes; 0 at the end."""
        self._sock.settimeout(self._deadline.left())
        size = self._sock.recv_into(buffer)
        self.received += size
        return size

    def sendall(self, data: bytes) -> None:
        """Send all of the bytes; TLS gives each part of them the whole time-out of its socket."""
        rest = memoryview(data)
        while rest:
            self._sock.settimeout(self._deadline.left())
            rest = rest[self._sock.send(rest) :]

    def close(self) -> None:
        """Close the connection."""
        super().close()
        self._sock.close()


def look_up(host: str, port: int, deadline: Deadline) -> list[Address]:
    """Find a name's addresses, each once.

    In a thread, because the system's look-up has no time-out; one that hangs ends by itself, later.

    Raises:
        OSError, UnicodeError: there are none.
    """
    answers: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_look_up, args=(host, port, answers), name="look-up", daemon=True).start()
    try:
        found = answers.get(timeout=deadline.left())
    except Empty:
        raise TimeoutError(f"the look-up of {host} takes too long") from None
    if isinstance(found, Exception):
        raise found
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def _look_up(host: str, port: int, answers: "SimpleQueue[Any]") -> None:
    try:
        answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except Exception as error:  # noqa: BLE001 - the caller raises it
        answers.put(error)


def connect(addresses: Iterable[Address], port: int, deadline: Deadline) -> Wire:
    """Connect to the first address that takes the connection.

    Raises:
        OSError: none of them did.
    """
    failed: OSError = OSError("no address")
    for address in addresses:
        timeout = min(CONNECT_SECONDS, deadline.left())
        try:
            return Wire(socket.create_connection((str(address), port), timeout=timeout), deadline)
        except OSError as error:
            failed = error
    raise failed
