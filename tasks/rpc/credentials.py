"""TLS: the certificate of the server, and of its clients if they need one."""

from pathlib import Path

import grpc
from django.core.exceptions import ImproperlyConfigured

from tasks.conf import conf


def server_credentials() -> grpc.ServerCredentials | None:
    """Read the files that the settings name; None if there are none, and calls are not encrypted.

    Raises:
        ImproperlyConfigured: a file is missing, or one setting without another.
    """
    given = (conf.GRPC_TLS_CERTIFICATE, conf.GRPC_TLS_KEY)
    if not any((*given, conf.GRPC_TLS_CLIENT_CA)):
        return None
    if not all(given):
        raise ImproperlyConfigured("GRPC_TLS_CERTIFICATE and GRPC_TLS_KEY: expected both or none, and both with a CA.")
    certificate, key = _read("GRPC_TLS_CERTIFICATE"), _read("GRPC_TLS_KEY")
    ca = _read("GRPC_TLS_CLIENT_CA") if conf.GRPC_TLS_CLIENT_CA else None
    return grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=ca is not None)


def _read(name: str) -> bytes:
    path = Path(getattr(conf, name))
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}: expected a readable file, got {path}: {error.strerror}.") from error
