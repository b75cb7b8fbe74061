"""The gunicorn worker: a request reaches a thread when it has arrived, so slow clients hold memory but no thread.

Gunicorn's ``gthread`` reads each request in a thread and without a time-out. Here the main loop does all the waiting:
for TLS handshakes, for heads and bodies, for clients that read slowly, and for what a client still sends after an early
error. It also answers ``/healthz``, so liveness depends on neither threads nor servers. ``/readyz`` and ``/health``
have a thread of their own; of the other threads, slow kinds of requests get a share only.
"""

import errno
import math
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from gunicorn import sock as gunicorn_sock
from gunicorn.http.message import Request
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from scheduler_site.client_connection import STALL_SECONDS, Connection
from scheduler_site.feeding import Feed, Feeding
from scheduler_site.request_framing import Arrival, RequestFraming, limits
from scheduler_site.request_threads import Kind, RequestThreads, is_probe, kind_of

#: How many bytes of requests may be in memory; beyond it the largest that still arrive are refused.
MOST_REQUEST_BYTES = 64 * 1024 * 1024
#: How many bytes of responses may wait for clients; beyond it the ones that wait the longest are dropped.
MOST_RESPONSE_BYTES = 256 * 1024 * 1024
#: A request that has sent less than this is never refused for the memory it takes.
SMALL_REQUEST_BYTES = 16 * 1024
#: What a client may still send after an early error, and for how long, so that it gets to read the answer.
DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_SECONDS = 10.0
#: How long a client that was answered may neither send nor close.
LINGER_SECONDS = 2.0

#: A request that has been arriving for longer makes room for others.
SLOW_SECONDS = 1.0
#: How often all connections are looked at for their time.
LOOK_SECONDS = 0.2
#: How often the log may say how many requests were refused.
REPORT_SECONDS = 10.0
#: Descriptors that connections leave to sessions with the database, to files and to the rest.
OTHER_DESCRIPTORS = 128

_RECEIVE_BYTES = 64 * 1024
#: Between two looks at other connections.
_RECEIVES_AT_ONCE = 16

_Step = Callable[[Connection], None]


class Worker(ThreadWorker):  # type: ignore[misc]
    """What ``gunicorn.conf.py`` names as ``worker_class``.

    A connection is in one of six places: its handshake or a request is arriving (``_receiving``), a thread answers it,
    the rest of the body comes later (``_fed``), the response is being sent (``_sending``), it is kept alive
    (``keepalived_conns``), or its rest is drained (``_draining``). HTTP/2 and uWSGI take gunicorn's own way.
    """

    wsgi: Any
    worker_connections: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_stock = "h2" in self.cfg.http_protocols or self.cfg.protocol != "http"
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors != resource.RLIM_INFINITY:
            self.worker_connections = min(self.worker_connections, max(descriptors - OTHER_DESCRIPTORS, 1))
        # A file that is sent by the kernel would wait for the client.
        self.cfg.set("sendfile", False)
        self._receiving: set[Connection] = set()
        self._sending: set[Connection] = set()
        self._draining: set[Connection] = set()
        self._fed: set[Connection] = set()
        self._answering = threading.local()
        self._request_bytes = 0
        self._requests = RequestThreads(self.cfg.threads, self._start_request)
        self._probes = ThreadPoolExecutor(1, "probes")
        self._refused = 0
        self._next_look = self._next_report = 0.0
        self._tls: ssl.SSLContext | None = None

    def load_wsgi(self) -> None:
        """Load the application, and what it says about sizes and times."""
        super().load_wsgi()
        # Here, because gunicorn's master loads this file: what it has loaded, a reload cannot replace.
        from django.conf import settings

        from scheduler_site import liveness, refusals
        from tasks import log_writer
        from tasks.conf import conf

        # A log that nobody reads must not stop the main loop.
        log_writer.start()
        self.wsgi = liveness.Liveness(self.wsgi if self._is_stock else Feeding(self.wsgi, self._keep_feed))
        self._is_liveness_probe = liveness.is_liveness_probe
        self._too_slow, self._overloaded, self._busy = refusals.too_slow, refusals.overloaded, refusals.busy
        self._malformed, self._count_refusal = refusals.malformed, refusals.count
        self._queue_seconds = settings.REQUEST_QUEUE_SECONDS
        self._head_seconds = settings.REQUEST_HEAD_SECONDS
        self._bytes_per_second = settings.REQUEST_BYTES_PER_SECOND
        self._limits = limits(self.cfg, body=conf.MAX_BODY_BYTES)
        if self.cfg.is_ssl:
            self._tls = gunicorn_sock.ssl_context(self.cfg)

    # --- Accepting ----------------------------------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection and look whether its request is there already."""
        if self._is_stock:
            super().accept(listener)
            return
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                self._make_room()
            elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        self._greet(client, address, listener.getsockname())

    def _greet(self, client: socket.socket, address: Any, server: Any) -> None:
        try:
            # Here for TLS too, because what wraps a socket must not block either.
            client.setblocking(False)
            if self._tls is not None:
                client = self._tls.wrap_socket(
                    client,
                    server_side=True,
                    do_handshake_on_connect=False,
                    suppress_ragged_eofs=self.cfg.suppress_ragged_eofs,
                )
            conn = Connection(self.cfg, client, address, server)
        except OSError:
            # The client has gone already.
            self.nr_conns -= 1
            client.close()
            return
        self._begin(conn)
        self._run(self._shake_hands if self._tls else self._receive, conn)

    def _make_room(self, *, is_urgent: bool = True) -> None:
        """Close the connection that is missed the least: slow ones first, and a fresh one only if it is urgent."""
        receiving = min(self._receiving, key=lambda conn: conn.started_at, default=None)
        is_slow = receiving is not None and time.monotonic() - receiving.started_at > SLOW_SECONDS
        if receiving is not None and is_slow:
            self._refuse(receiving, self._overloaded(), is_final=True)
        elif self._draining:
            self._drop(_most_overdue(self._draining))
        elif self.keepalived_conns:
            self._drop(self.keepalived_conns.popleft())
        elif self._fed:
            # It comes back, and goes on where it was.
            self._drop(min(self._fed, key=lambda conn: conn.started_at))
        elif self._sending:
            self._drop(_most_overdue(self._sending))
        elif receiving is not None and is_urgent:
            self._refuse(receiving, self._overloaded(), is_final=True)

    def _shake_hands(self, conn: Connection) -> None:
        try:
            conn.sock.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(conn, EVENT_READ, self._shake_hands)
        except ssl.SSLWantWriteError:
            self._watch(conn, EVENT_WRITE, self._shake_hands)
        else:
            self._receive(conn)

    # --- Receiving ----------------------------------------------------------------------------------------------

    def _begin(self, conn: Connection) -> None:
        """Expect a request; its time starts now."""
        is_first = conn.framing is None
        conn.framing = RequestFraming(
            self._limits, has_proxy_header=is_first and self.cfg.proxy_protocol not in {"off", False}
        )
        conn.was_continued = False
        conn.started_at = time.monotonic()
        conn.deadline = conn.started_at + self._head_seconds
        self._receiving.add(conn)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Receive the next request on a connection that was kept alive."""
        if not isinstance(conn, Connection):
            super().on_client_socket_readable(conn, client)
            return
        if not conn.is_open:
            # Another connection's event, found by the same look, has closed it.
            return
        self.keepalived_conns.remove(conn)
        self._begin(conn)
        self._run(self._receive, conn)

    def _receive(self, conn: Connection) -> None:
        while conn.is_open:
            data = conn.sock.recv(_RECEIVE_BYTES)
            if data is None:
                self._watch(conn, EVENT_READ, self._receive)
                return
            if not data:
                self._half_closed(conn)
                return
            conn.buffer += data
            self._request_bytes += len(data)
            if self._advance(conn):
                return
            self._limit_request_bytes()

    def _half_closed(self, conn: Connection) -> None:
        """Let the application say what it thinks of half a body; for less than a head there is nobody to answer."""
        if conn.framing is not None and conn.framing.body_start is not None:
            self._hand_over(conn, Arrival.ENOUGH)
        else:
            self._drop(conn)

    def _advance(self, conn: Connection) -> bool:
        """Hand the request over if it has arrived; tell whether it has."""
        assert conn.framing is not None
        arrival = conn.framing.advance(conn.buffer)
        if arrival is not Arrival.PARTIAL:
            self._hand_over(conn, arrival)
            return True
        if conn.framing.body_start is not None:
            self._expect_body(conn, received=len(conn.buffer) - conn.framing.body_start)
        return False

    def _expect_body(self, conn: Connection, *, received: int) -> None:
        assert conn.framing is not None
        if not conn.was_continued:
            conn.was_continued = True
            conn.body_started_at = time.monotonic()
            if conn.framing.expects_continue:
                conn.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Each byte that has arrived buys time for the next ones.
        conn.deadline = conn.body_started_at + self._head_seconds + received / self._bytes_per_second

    def _limit_request_bytes(self) -> None:
        while self._request_bytes > MOST_REQUEST_BYTES:
            largest = max(self._receiving, key=lambda conn: len(conn.buffer), default=None)
            if largest is None or len(largest.buffer) <= SMALL_REQUEST_BYTES:
                return
            self._refuse(largest, self._overloaded(), is_final=True)

    # --- Answering ----------------------------------------------------------------------------------------------

    def _hand_over(self, conn: Connection, arrival: Arrival) -> None:
        assert conn.framing is not None
        self._unwatch(conn)
        if arrival is Arrival.BROKEN:
            self._refuse(conn, self._malformed(conn.framing.defect))
            return
        self._receiving.discard(conn)
        conn.is_whole = arrival is Arrival.WHOLE
        conn.feed_parser()
        if conn.is_whole and self._is_liveness_probe(conn.framing.request_line):
            # Later, because the client may have sent thousands of probes at once.
            self.method_queue.defer(self._finish, conn, self.handle(conn))
        elif conn.is_whole and is_probe(conn.framing.request_line):
            self._probes.submit(self.handle, conn).add_done_callback(partial(self._on_handled, conn))
        else:
            self._requests.put(conn, kind_of(conn.framing.request_line))

    def _start_request(self, conn: Connection, kind: Kind) -> None:
        # After a stop there are no threads, and soon no process.
        with suppress(RuntimeError):
            future = self.tpool.submit(self.handle, conn)
            future.add_done_callback(partial(self._on_handled, conn))
            future.add_done_callback(lambda _: self._requests.done(kind))

    def _on_handled(self, conn: Connection, future: "Future[Any]") -> None:
        self.method_queue.defer(self.finish_request, conn, future)

    def handle_request(self, req: Request, conn: Any) -> bool:
        """Answer a request; in a thread, except for liveness."""
        if isinstance(conn, Connection):
            # The main loop has asked for the body, or does not want it.
            req._expected_100_continue = False
            if not conn.is_whole:
                req.force_close()
            self._answering.conn = conn
        return bool(super().handle_request(req, conn))

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        if not isinstance(conn, Connection):
            return bool(super()._keepalive_after(conn, keepalive))
        # Everything is in memory, so this neither waits nor has to be bounded.
        return bool(keepalive and conn.parser.finish_body() and not conn.unreader.is_starved)

    def finish_request(self, conn: Any, fs: "Future[Any]") -> None:
        """Go on with a connection after a thread has answered; in the main loop."""
        if not isinstance(conn, Connection):
            super().finish_request(conn, fs)
            return
        is_answered = not fs.cancelled() and fs.exception() is None
        is_kept = is_answered and bool(fs.result())
        if conn.feed is None:
            self._finish(conn, is_kept)
        else:
            conn.is_kept = is_kept
            self._start_feed(conn)

    def _finish(self, conn: Connection, is_kept: bool) -> None:
        self._request_bytes -= conn.handed_over
        conn.handed_over = 0
        rest = conn.unreader.take_buffered()
        if is_kept:
            conn.buffer += rest
            self._request_bytes += len(rest)
        conn.is_kept = is_kept
        conn.deadline = self._send_deadline(conn)
        self._sending.add(conn)
        self._run(self._send, conn)

    def _send(self, conn: Connection) -> None:
        if not conn.sock.flush():
            self._watch(conn, EVENT_WRITE, self._send)
            return
        self._sending.discard(conn)
        if not conn.is_kept:
            self._linger(conn)
        elif conn.buffer or conn.sock.has_pending:
            # The client has sent the next request, or a part of it, behind the one before.
            self._begin(conn)
            if not self._advance(conn):
                self._receive(conn)
        else:
            self._keep_alive(conn)

    def _send_deadline(self, conn: Connection) -> float:
        """Tell until when a client has to take what is there for it."""
        return time.monotonic() + STALL_SECONDS + conn.sock.unsent / self._bytes_per_second

    def _keep_alive(self, conn: Connection) -> None:
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        self.keepalived_conns.append(conn)
        self._register(conn, EVENT_READ, partial(self.on_client_socket_readable, conn))

    # --- Feeding ------------------------------------------------------------------------------------------------

    def _keep_feed(self, feed: Feed, response: Any) -> None:
        """Keep what the rest of a body comes from; in the thread that has answered the request."""
        conn: Connection = self._answering.conn
        conn.feed, conn.response = feed, response

    def _start_feed(self, conn: Connection) -> None:
        # The request itself is answered; what the client has sent behind it waits.
        self._request_bytes -= conn.handed_over
        conn.handed_over = 0
        conn.buffer += conn.unreader.take_buffered()
        self._request_bytes += len(conn.buffer)
        self._fed.add(conn)
        conn.deadline = math.inf
        conn.beat_at = time.monotonic() + conn.feed.beat_seconds
        if not self.alive:
            conn.feed.end_soon()
        conn.feed.on_ready(partial(self.method_queue.defer, self._run, self._feed, conn))
        self._run(self._feed, conn)

    def _feed(self, conn: Connection) -> None:
        """Send what is there, and wait for more, or for the client to take it or to go."""
        if conn not in self._fed:
            return
        while conn.sock.flush():
            # Only now, so that of each client no more than one piece is in memory.
            conn.deadline, piece = math.inf, conn.feed.take()
            if piece:
                conn.response.write(piece)
                conn.beat_at = time.monotonic() + conn.feed.beat_seconds
            if conn.feed.has_ended:
                self._end_feed(conn)
                return
            if not piece:
                self._watch(conn, EVENT_READ, self._hear)
                return
        if conn.deadline == math.inf:
            conn.deadline = self._send_deadline(conn)
        self._watch(conn, EVENT_WRITE, self._feed)

    def _hear(self, conn: Connection) -> None:
        """Notice that a client has gone; what it sends while it is fed waits for the end."""
        data = conn.sock.recv(_RECEIVE_BYTES)
        if data is None:
            return
        conn.buffer += data
        self._request_bytes += len(data)
        if not data or len(conn.buffer) > SMALL_REQUEST_BYTES:
            self._drop(conn)

    def _end_feed(self, conn: Connection) -> None:
        self._fed.discard(conn)
        conn.feed, response, conn.response = None, conn.response, None
        response.end()
        conn.deadline = self._send_deadline(conn)
        self._sending.add(conn)
        self._send(conn)

    def _beat(self, now: float) -> None:
        """Say on silent streams that they are alive."""
        for conn in [one for one in self._fed if one.beat_at <= now and one.deadline == math.inf]:
            conn.beat_at = now + conn.feed.beat_seconds
            if conn.feed.beat:
                self._run(self._send_beat, conn)

    def _send_beat(self, conn: Connection) -> None:
        conn.response.write(conn.feed.beat)
        self._feed(conn)

    # --- Ending -------------------------------------------------------------------------------------------------

    def _refuse(self, conn: Connection, answer: bytes, *, is_final: bool = False) -> None:
        """Answer what is only partly there; ``is_final`` does without the drain."""
        self._receiving.discard(conn)
        self._refused += 1
        try:
            if conn.buffer:
                self._count_refusal(answer)
                conn.sock.sendall(answer)
            if is_final or not conn.buffer:
                self._drop(conn)
            else:
                self._linger(conn)
        except OSError:
            self._drop(conn)

    def _send_away(self, conn: Connection) -> None:
        """Answer a request that gets no thread."""
        self._refused += 1
        answer = self._busy()
        self._count_refusal(answer)
        conn.sock.sendall(answer)
        self._finish(conn, is_kept=False)

    def _linger(self, conn: Connection) -> None:
        """Close for writing, and read on: a close with unread bytes would take the answer back from the client."""
        self._release(conn)
        self._draining.add(conn)
        conn.sock.shutdown(socket.SHUT_WR)
        conn.drained = 0
        conn.drain_until = time.monotonic() + DRAIN_SECONDS
        self._drain(conn)

    def _drain(self, conn: Connection) -> None:
        for _ in range(_RECEIVES_AT_ONCE):
            data = conn.sock.recv(_RECEIVE_BYTES)
            if data is None:
                break
            conn.drained += len(data)
            if not data or conn.drained > DRAIN_BYTES:
                self._drop(conn)
                return
        conn.deadline = min(conn.drain_until, time.monotonic() + LINGER_SECONDS)
        self._watch(conn, EVENT_READ, self._drain)

    def _release(self, conn: Connection) -> None:
        """Give up what is in memory of its request."""
        self._request_bytes -= len(conn.buffer) + conn.handed_over
        conn.buffer, conn.handed_over = bytearray(), 0

    def _drop(self, conn: Connection) -> None:
        """Close a connection, wherever it is."""
        if not conn.is_open:
            return
        conn.is_open = False
        self._release(conn)
        self._unwatch(conn)
        for place in (self._receiving, self._sending, self._draining, self._fed):
            place.discard(conn)
        if conn.feed is not None:
            conn.feed.stop()
            conn.feed = conn.response = None
        self.nr_conns -= 1
        conn.close()

    # --- Time ---------------------------------------------------------------------------------------------------

    def murder_pending(self) -> None:
        """Refuse or close what has taken too long; the main loop calls it after each wait, at least once a second."""
        super().murder_pending()
        if self.nr_conns >= self.worker_connections:
            # The main loop accepts none until there is room, and threads may have had all when the last came.
            self._make_room(is_urgent=False)
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._end_overdue(now)

    def _end_overdue(self, now: float) -> None:
        for conn in _overdue(self._receiving, now):
            self._refuse(conn, self._too_slow())
        for conn in [*_overdue(self._sending, now), *_overdue(self._draining, now), *_overdue(self._fed, now)]:
            self._drop(conn)
        self._beat(now)
        for conn in self._requests.take_overdue(self._queue_seconds):
            self._run(self._send_away, conn)
        self._limit_response_bytes()
        if self._refused and now >= self._next_report:
            self.log.info("%d requests were refused: malformed, too slow, or too many at once", self._refused)
            self._refused, self._next_report = 0, now + REPORT_SECONDS

    def _limit_response_bytes(self) -> None:
        sending = self._sending | self._fed
        waiting = sum(conn.sock.unsent for conn in sending)
        for conn in sorted(sending, key=lambda one: one.deadline):
            if waiting <= MOST_RESPONSE_BYTES:
                return
            waiting -= conn.sock.unsent
            self._drop(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Hasten the connections without a request; a worker that stops waits for the others."""
        super()._cap_keepalive(deadline)
        for conn in self._fed:
            # Its client comes back to another worker, with the last event that it has.
            conn.feed.end_soon()
        for conn in self._receiving:
            if not conn.buffer:
                conn.deadline = min(conn.deadline, deadline)

    # --- The poller ---------------------------------------------------------------------------------------------

    def _watch(self, conn: Connection, event: int, step: _Step) -> None:
        self._register(conn, event, lambda _channel: self._run(step, conn))

    def _register(self, conn: Connection, event: int, callback: Callable[[Any], None]) -> None:
        if conn.is_registered:
            self.poller.modify(conn.sock, event, callback)
        else:
            self.poller.register(conn.sock, event, callback)
            conn.is_registered = True

    def _unwatch(self, conn: Connection) -> None:
        if conn.is_registered:
            conn.is_registered = False
            self.poller.unregister(conn.sock)

    def _run(self, step: _Step, conn: Connection) -> None:
        """Take a step of a connection; whatever happens to it must not reach the main loop."""
        try:
            # Another connection's event, found by the same look, may have closed it.
            if conn.is_open:
                step(conn)
        except OSError as error:
            self.log.debug("Closing connection. %s", error)
            self._drop(conn)
        except Exception:
            self.log.exception("Closing a connection that could not be served")
            self._drop(conn)


def _overdue(connections: set[Connection], now: float) -> list[Connection]:
    return [conn for conn in connections if conn.deadline <= now]


def _most_overdue(connections: set[Connection]) -> Connection:
    return min(connections, key=lambda conn: conn.deadline)
