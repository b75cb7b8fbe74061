"""Server reflection, by which grpcurl and others need no .proto files. It takes a token, as all but health does."""

from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, aio

from tasks.errors import MalformedRequest
from tasks.rpc.services import SERVICES

#: The second version is the first under another name.
PATHS = frozenset(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha"))

_servicer = aio.ReflectionServicer([*SERVICES, HEALTH, SERVICE_NAME])


async def answers(requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Answer the requests of a stream.

    Raises:
        MalformedRequest: one of them cannot be read.
    """
    async for response in _servicer.ServerReflectionInfo(_read(requests), None):
        yield response.SerializeToString()


async def _read(requests: AsyncIterator[bytes]) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    async for raw in requests:
        try:
            yield reflection_pb2.ServerReflectionRequest.FromString(raw)
        except DecodeError as error:
            raise MalformedRequest("expected a ServerReflectionRequest, got bytes that are none") from error
