"""The queue for threads: shares of kinds, order, and what has waited too long."""

import time

import pytest

from scheduler_site.request_threads import Kind, RequestThreads, is_probe, kind_of

PAGE, READ, WRITE = Kind.PAGE, Kind.READ, Kind.WRITE


class Threads:
    """A queue, and what it has started."""

    def __init__(self, threads: int) -> None:
        self.started: list[str] = []
        self.queue = RequestThreads[str](threads, lambda request, _: self.started.append(request))

    def put(self, kind: Kind, *requests: str) -> None:
        for request in requests:
            self.queue.put(request, kind)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"GET /admin/ HTTP/1.1", PAGE),
        (b"POST /admin/callboard/task/?q=x HTTP/1.1", PAGE),
        (b"GET /admin HTTP/1.1", PAGE),
        (b"GET /admin?x HTTP/1.1", PAGE),
        (b"GET /administration HTTP/1.1", READ),
        (b"GET /api/v1/tasks HTTP/1.1", READ),
        (b"HEAD / HTTP/1.1", READ),
        (b"POST /api/v1/tasks HTTP/1.1", WRITE),
        (b"DELETE /api/v1/tasks/1 HTTP/1.1", WRITE),
        (b"", WRITE),
        (b"\x00\xff", WRITE),
    ],
)
def test_kinds(line: bytes, kind: Kind) -> None:
    assert kind_of(line) is kind


@pytest.mark.parametrize("path", [b"/readyz", b"/readyz/", b"/health", b"/health?verbose=1"])
def test_probes_of_servers(path: bytes) -> None:
    assert is_probe(b"GET %s HTTP/1.1" % path)
    assert not is_probe(b"GET %sx HTTP/1.1" % path.partition(b"?")[0])


@pytest.mark.parametrize(
    ("threads", "pages", "reads", "writes"), [(1, 1, 1, 1), (2, 1, 2, 2), (3, 2, 3, 3), (4, 2, 3, 4), (8, 4, 6, 8)]
)
def test_shares(threads: int, pages: int, reads: int, writes: int) -> None:
    for kind, most in ((PAGE, pages), (READ, reads), (WRITE, writes)):
        all_of = Threads(threads)
        all_of.put(kind, *"abcdefghij")
        assert len(all_of.started) == most


def test_a_kind_that_waits_leaves_the_rest_to_others() -> None:
    eight = Threads(8)
    eight.put(PAGE, *"ppppPP")
    eight.put(READ, *"rrR")
    eight.put(WRITE, *"wwW")
    assert "".join(eight.started) == "pppprrww"


def test_a_free_thread_goes_to_the_oldest_that_may_have_it() -> None:
    four = Threads(4)
    four.put(WRITE, *"wwww")
    four.put(READ, "r")
    four.put(PAGE, "p")
    four.put(WRITE, "W")
    for _ in range(3):
        four.queue.done(WRITE)
    assert "".join(four.started) == "wwwwrpW"


def test_a_request_that_ends_at_once_makes_room_for_the_next() -> None:
    started: list[str] = []

    def start(request: str, kind: Kind) -> None:
        started.append(request)
        queue.done(kind)

    queue = RequestThreads[str](1, start)
    for request in "abc":
        queue.put(request, WRITE)
    assert started == ["a", "b", "c"]


def test_what_waits_while_nothing_moves_is_overdue() -> None:
    one = Threads(1)
    one.put(WRITE, "w", "late")
    one.put(READ, "too late")
    assert one.queue.take_overdue(30) == []
    time.sleep(0.02)
    assert one.queue.take_overdue(0.01) == ["too late", "late"]
    assert one.queue.take_overdue(0) == []
    one.queue.done(WRITE)
    one.put(WRITE, "next")
    assert one.started == ["w", "next"]


def test_nothing_is_overdue_while_its_kind_moves() -> None:
    one = Threads(1)
    one.put(WRITE, "a", "b", "c")
    time.sleep(0.02)
    one.queue.done(WRITE)
    assert one.queue.take_overdue(0.015) == []
