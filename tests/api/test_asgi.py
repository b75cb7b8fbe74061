"""The API under an ASGI server: who waits and who watches gets each piece as it comes, and holds no thread."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIHandler

from tasks import lifecycle
from tasks.contract import watching
from tasks.contract.watching import hub
from tasks.states import Status
from tests import factories
from tests.api.test_events import events_of, kinds, last_id, later
from tests.callers import Caller
from tests.waiting import wait_until

#: The view, and what waits behind it, may need this long on a busy machine.
PATIENCE_SECONDS = 30


@pytest.fixture
def owner(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Caller]:
    monkeypatch.setattr(watching, "IDLE_SECONDS", 0.05)
    yield Caller(User.objects.create_user("owner"))
    wait_until(lambda: hub._thread is None)


def scope_of(caller: Caller, address: str, **headers: str) -> dict[str, Any]:
    parts = urlsplit(address)
    sent = {"host": "testserver", "authorization": str(caller.defaults["HTTP_AUTHORIZATION"]), **headers}
    return {
        "type": "http", "method": "GET", "path": parts.path, "query_string": parts.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }  # fmt: skip


def connect(caller: Caller, address: str, **headers: str) -> ApplicationCommunicator:
    return ApplicationCommunicator(ASGIHandler(), scope_of(caller, address, **headers))


async def begin(talk: ApplicationCommunicator) -> int:
    await talk.send_input({"type": "http.request", "body": b""})
    return int((await talk.receive_output(PATIENCE_SECONDS))["status"])


async def rest_of(talk: ApplicationCommunicator) -> bytes:
    body = b""
    while True:
        piece = await talk.receive_output(PATIENCE_SECONDS)
        body += bytes(piece.get("body", b""))
        if not piece.get("more_body"):
            await talk.wait(PATIENCE_SECONDS)
            return body


def test_a_long_poll_answers_with_the_next_event(owner: Caller) -> None:
    task = factories.submit(owner_id=owner.id)
    cursor = last_id(owner, task)
    acting = later(lambda: lifecycle.cancel(task.pk), seconds=0.5)

    @async_to_sync
    async def poll() -> Any:
        talk = connect(owner, f"{events_of(task)}?cursor={cursor}&wait=30")
        assert await begin(talk) == 200
        return json.loads(await rest_of(talk))

    assert kinds(poll()["results"]) == ["cancel", "CANCELLED"]
    acting.join()
    assert len(hub) == 0


def test_a_stream_gives_each_event_as_it_comes(owner: Caller) -> None:
    task = factories.submit(owner_id=owner.id)
    acting = []

    @async_to_sync
    async def watch() -> bytes:
        talk = connect(owner, events_of(task), accept="text/event-stream")
        assert await begin(talk) == 200
        first = b""
        while b"PENDING" not in first:
            first += (await talk.receive_output(PATIENCE_SECONDS))["body"]
        # Only a reader who has the first events lets the others happen.
        acting.append(later(lambda: lifecycle.cancel(task.pk), seconds=0))
        return first + await rest_of(talk)

    told = watch().decode()
    acting[0].join()
    assert [line.removeprefix("event: ") for line in told.splitlines() if line.startswith("event: ")] == [
        *("submitted", "status", "act", "status")
    ]
    assert len(hub) == 0


def test_a_reader_who_leaves_frees_their_place(owner: Caller) -> None:
    task = factories.submit(owner_id=owner.id)

    @async_to_sync
    async def leave() -> None:
        talk = connect(owner, events_of(task), accept="text/event-stream")
        await begin(talk)
        await talk.receive_output(PATIENCE_SECONDS)
        assert len(hub) == 1
        await talk.send_input({"type": "http.disconnect"})
        await talk.wait(PATIENCE_SECONDS)

    leave()
    assert len(hub) == 0


def test_a_reader_who_leaves_before_the_first_byte_frees_their_place(
    owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LISTEN_SECONDS", 0.1)
    task = factories.submit(owner_id=owner.id)

    @async_to_sync
    async def leave() -> None:
        is_asked, is_sending = False, asyncio.Event()

        async def receive() -> Any:
            nonlocal is_asked
            if not is_asked:
                is_asked = True
                return {"type": "http.request", "body": b""}
            await asyncio.wait_for(is_sending.wait(), PATIENCE_SECONDS)
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None:
            is_sending.set()
            # The client takes nothing of it, not even the head.
            await asyncio.Event().wait()

        await ASGIHandler()(scope_of(owner, events_of(task), accept="text/event-stream"), receive, send)

    leave()
    wait_until(lambda: len(hub) == 0)


def test_a_silent_stream_says_that_it_is_alive(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.api.feeds.BEAT_SECONDS", 0.1)
    task = factories.submit(owner_id=owner.id)

    @async_to_sync
    async def listen() -> None:
        talk = connect(owner, events_of(task), accept="text/event-stream")
        await begin(talk)
        while b": alive" not in (await talk.receive_output(PATIENCE_SECONDS))["body"]:
            pass
        await talk.send_input({"type": "http.disconnect"})
        await talk.wait(PATIENCE_SECONDS)

    listen()


def test_an_export_is_sent_piece_by_piece(owner: Caller) -> None:
    letters = [factories.open_letter(factories.make_task(Status.DEAD, owner_id=owner.id)) for _ in range(2)]

    @async_to_sync
    async def export() -> list[bytes]:
        talk = connect(owner, "/api/v1/dlq/export")
        assert await begin(talk) == 200
        first = (await talk.receive_output(PATIENCE_SECONDS))["body"]
        return [first, await rest_of(talk)]

    first, rest = export()
    assert first == b'{"results":['
    assert [one["id"] for one in json.loads(first + rest)["results"]] == [str(one.pk) for one in reversed(letters)]
