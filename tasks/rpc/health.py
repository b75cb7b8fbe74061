"""The standard health service (``grpc.health.v1``), open to everybody: whether this server can accept tasks.

All services need the same, so they have one state, which is looked at in the background.
"""

import asyncio
from collections.abc import Collection
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import SERVICE_NAME

from tasks.contract import readiness

LOOK_EVERY_SECONDS = 5.0
_MOST_WATCHES = 100

_State = health_pb2.HealthCheckResponse
#: The name of the server as a whole.
_WHOLE = ""


class Health:
    """The state of the services, and the calls that ask for it."""

    def __init__(self, services: Collection[str]) -> None:
        self._services = {_WHOLE, SERVICE_NAME, *services}
        self._status = _State.NOT_SERVING
        self._changed = asyncio.Condition()
        self._is_stopping = False
        self._watches = 0
        self._looking: asyncio.Task[None] | None = None
        self.handlers: dict[str, Any] = {
            f"/{SERVICE_NAME}/Check": grpc.unary_unary_rpc_method_handler(self.check),
            f"/{SERVICE_NAME}/Watch": grpc.unary_stream_rpc_method_handler(self.watch),
        }

    async def start(self) -> None:
        """Look once, and from now on every few seconds."""
        await self._look()
        self._looking = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """Tell everybody that this server takes no calls any more, and end the watches."""
        if self._looking is not None:
            self._looking.cancel()
        self._is_stopping = True
        await self._become(_State.NOT_SERVING)

    async def check(self, raw: bytes, context: Any) -> bytes:
        """Answer with the state of a service."""
        if await self._asked(raw, context) not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return _written(self._status)

    async def watch(self, raw: bytes, context: Any) -> None:
        """Answer with the state of a service now, and whenever it changes."""
        is_known = await self._asked(raw, context) in self._services
        if self._watches >= _MOST_WATCHES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many clients watch; ask with Check")
        self._watches += 1
        try:
            await self._tell(context, is_known=is_known)
        finally:
            self._watches -= 1

    async def _tell(self, context: Any, *, is_known: bool) -> None:
        told = None
        while True:
            status = self._status if is_known else _State.SERVICE_UNKNOWN
            if status != told:
                await context.write(_written(status))
                told = status
            if self._is_stopping:
                return
            async with self._changed:
                await self._changed.wait()

    async def _asked(self, raw: bytes, context: Any) -> str:
        try:
            return str(health_pb2.HealthCheckRequest.FromString(raw).service)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "expected a HealthCheckRequest")
            raise

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            await self._look()

    async def _look(self) -> None:
        components = await asyncio.to_thread(readiness.state)
        await self._become(_State.SERVING if readiness.is_ready(components) else _State.NOT_SERVING)

    async def _become(self, status: Any) -> None:
        async with self._changed:
            # A look that was under way when the server was stopped comes too late.
            self._status = _State.NOT_SERVING if self._is_stopping else status
            self._changed.notify_all()


def _written(status: Any) -> bytes:
    return bytes(_State(status=status).SerializeToString())
