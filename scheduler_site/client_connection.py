"""One client's connection: a socket that never blocks, and a parser that reads from memory only."""

import errno
import select
import socket
import ssl
import time
from collections import deque
from typing import Any

from gunicorn import http
from gunicorn.http.unreader import Unreader
from gunicorn.workers.gthread import TConn

from scheduler_site.request_framing import RequestFraming

#: How much of a response may wait for its reader before the thread that writes more of it has to wait too.
MOST_UNSENT_BYTES = 16 * 1024 * 1024
#: How long such a thread waits for a client that takes nothing.
STALL_SECONDS = 10.0

_PIECE_BYTES = 64 * 1024


class Channel:
    """A socket as gunicorn uses it, which never blocks: what cannot be sent yet waits in memory.

    One thread at a time uses it: the main loop, or the thread that answers the request.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._unsent: deque[memoryview] = deque()
        #: How many bytes wait for the client to read.
        self.unsent = 0

    def fileno(self) -> int:
        """Give the descriptor, for a selector."""
        return self._socket.fileno()

    def recv(self, size: int) -> bytes | None:
        """Receive what is there: nothing if the client has ended, None if nothing has arrived."""
        try:
            return self._socket.recv(size)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    @property
    def has_pending(self) -> bool:
        """Whether TLS has read more than was received, of which a selector knows nothing."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def do_handshake(self) -> None:
        """Go on with the TLS handshake; raises ``SSLWantReadError`` or ``SSLWantWriteError`` until it is done."""
        if isinstance(self._socket, ssl.SSLSocket):
            self._socket.do_handshake()

    def sendall(self, data: bytes) -> None:
        """Send what the client takes now and keep the rest for ``flush``."""
        if self.unsent > MOST_UNSENT_BYTES:
            self._await_reader()
        self._unsent.append(memoryview(data))
        self.unsent += len(data)
        self.flush()

    def send(self, data: bytes) -> int:
        """Send as ``sendall`` does."""
        self.sendall(data)
        return len(data)

    def flush(self) -> bool:
        """Send what the client takes now; tell whether everything is sent."""
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent[0])
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            self.unsent -= sent
            if sent == len(self._unsent[0]):
                self._unsent.popleft()
            else:
                self._unsent[0] = self._unsent[0][sent:]
        return True

    def _await_reader(self) -> None:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        deadline = time.monotonic() + STALL_SECONDS
        while not self.flush() and self.unsent > MOST_UNSENT_BYTES:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise BrokenPipeError(errno.EPIPE, "the client does not read the response")

    def gettimeout(self) -> float:
        """Say that it does not block."""
        return 0.0

    def settimeout(self, value: float | None) -> None:
        """Ignore the wish: it never blocks."""

    def setblocking(self, flag: bool) -> None:
        """Ignore the wish: it never blocks."""

    def shutdown(self, how: int) -> None:
        """Shut one direction down."""
        self._socket.shutdown(how)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class BufferedUnreader(Unreader):  # type: ignore[misc]
    """What gunicorn's parser reads from: bytes that have arrived, then nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._fed = memoryview(b"")
        #: Whether the parser wanted more than there was; then nobody knows where the next request starts.
        self.is_starved = False

    def feed(self, data: bytes) -> None:
        """Take the bytes of a request, and of what may follow it."""
        self._fed = memoryview(data)

    def chunk(self, _size_hint: int | None = None) -> bytes:
        """Give the next piece, for ``Unreader.read``."""
        # In pieces, because `read` copies all that it has got and not given out each time.
        piece, self._fed = bytes(self._fed[:_PIECE_BYTES]), self._fed[_PIECE_BYTES:]
        self.is_starved = self.is_starved or not piece
        return piece

    def take_buffered(self) -> bytes:
        """Take everything that is left."""
        rest: bytes = super().take_buffered() + bytes(self._fed)
        self._fed = memoryview(b"")
        return rest


class Connection(TConn):  # type: ignore[misc]
    """A connection and the request that arrives on it."""

    sock: Channel

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.sock = Channel(sock)
        self.unreader = BufferedUnreader()
        # Without a source, because everything comes from the unreader.
        self.parser = http.get_parser(cfg, iter(()), client)
        self.parser.unreader = self.unreader
        # Gunicorn's own methods then neither wait for data nor set anything up.
        self.initialized = self.data_ready = True
        self.buffer = bytearray()
        self.framing: RequestFraming | None = None
        #: Bytes of the request that a thread works on.
        self.handed_over = 0
        #: Whether a thread has all of the request, so that the next one may follow on the same connection.
        self.is_whole = True
        #: Whether another request may follow once the response is sent.
        self.is_kept = False
        self.is_open = True
        self.is_registered = False
        self.started_at = self.body_started_at = self.deadline = 0.0
        self.drained = 0
        self.drain_until = 0.0
        self.was_continued = False
        #: What the rest of the body comes from, and gunicorn's response, which frames it.
        self.feed: Any = None
        self.response: Any = None
        self.beat_at = 0.0

    def feed_parser(self) -> None:
        """Give the parser all that has arrived."""
        self.unreader.feed(bytes(self.buffer))
        self.handed_over = len(self.buffer)
        self.buffer = bytearray()
