"""A health check for containers: ``python -m scheduler_site.probe URL`` exits with 0 when a process answers there.

``grpc://HOST:PORT`` asks gRPC's health service.
"""

import sys
from urllib.error import HTTPError
from urllib.request import urlopen

TIMEOUT_SECONDS = 4


def answers(url: str) -> bool:
    """Tell whether a process answers; a demand for credentials is an answer too."""
    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS):  # noqa: S310
            return True
    except HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def is_serving(address: str) -> bool:
    """Tell whether the gRPC server at an address takes calls."""
    # Only a process that serves gRPC needs it.
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    try:
        with grpc.insecure_channel(address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS, wait_for_ready=True
            )
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def main(url: str) -> int | str:
    """Give the exit code."""
    scheme, _, address = url.partition("://")
    is_well = is_serving(address) if scheme == "grpc" else answers(url)
    return 0 if is_well else f"{url} does not answer, or with an error"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
