"""A TCP proxy in front of a server, which loses, delays and withholds the server's replies."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65_536


class Proxy:
    """Forwards everything until a test tells it otherwise.

    Parameters:
        url: of the server behind it.

    Attributes:
        url: the same server by way of the proxy.
        lost: how many replies were lost.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self._door = socket.create_server(("127.0.0.1", 0))
        account, _, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{account}@127.0.0.1:{self._door.getsockname()[1]}"))
        self.lost = 0
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._is_open = threading.Event()
        self._is_open.set()
        self._delay_seconds = 0.0
        self._needle, self._count = b"", 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def lose_replies(self, needle: bytes, *, count: int = 1) -> None:
        """Forward the next ``count`` requests that contain ``needle``, lose their replies, and close the connection."""
        with self._lock:
            self._needle, self._count = needle, count

    @property
    def loses(self) -> int:
        """How many replies are still to be lost."""
        return self._count

    @contextmanager
    def delaying(self, seconds: float) -> Iterator[None]:
        """Delay every reply by so much."""
        self._delay_seconds = seconds
        yield
        self._delay_seconds = 0.0

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Forward nothing meanwhile, as a network that drops packets; everything arrives afterwards."""
        self._is_open.clear()
        yield
        self._is_open.set()

    def open_halfway(self) -> int:
        """Close every connection on the server's side only; the client's stays open and silent. Return how many."""
        with self._lock:
            connections = [one for one in self._connections if one.is_passing]
        for connection in connections:
            connection.forget_server()
        return len(connections)

    def close(self) -> None:
        """Close all connections."""
        self._is_open.set()
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        for connection in self._connections:
            connection.hang_up()
        for thread in self._threads:
            thread.join(10)
        self._door.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._connect, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _connect(self, client: socket.socket) -> None:
        self._is_open.wait()
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        connection = _Connection(client, server)
        with self._lock:
            self._connections.append(connection)
        replies = threading.Thread(target=connection.pump, args=(server, self._reply(connection)), daemon=True)
        replies.start()
        connection.pump(client, self._request(connection))
        replies.join()
        client.close()
        server.close()

    def _request(self, connection: "_Connection") -> Callable[[bytes], None]:
        def pass_on(data: bytes) -> None:
            self._is_open.wait()
            with self._lock:
                if self._count and self._needle in data:
                    self._count -= 1
                    connection.is_losing = True
            connection.server.sendall(data)

        return pass_on

    def _reply(self, connection: "_Connection") -> Callable[[bytes], None]:
        def pass_on(data: bytes) -> None:
            if self._delay_seconds:
                time.sleep(self._delay_seconds)
            self._is_open.wait()
            if connection.is_losing:
                self.lost += 1
                connection.hang_up()
            else:
                connection.client.sendall(data)

        return pass_on


class _Connection:
    """One client's connection, and the proxy's to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.is_passing = True
        self.is_losing = False

    def pump(self, source: socket.socket, pass_on: Callable[[bytes], None]) -> None:
        """Forward from one side until either closes."""
        try:
            while data := source.recv(_CHUNK):
                if self.is_passing:
                    pass_on(data)
        except OSError:
            pass
        if self.is_passing or source is self.client:
            self.hang_up()

    def forget_server(self) -> None:
        """Close the connection to the server, and leave the client's open without answers."""
        self.is_passing = False
        _shut(self.server)

    def hang_up(self) -> None:
        """Close both connections."""
        _shut(self.client)
        _shut(self.server)


def _shut(side: socket.socket) -> None:
    # Not close(): a thread may still read from it, and the descriptor could be reused meanwhile.
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
