"""Pages that a process serves beside its work, for scrapes of its metrics and for health checks."""

import socket
from abc import ABC, abstractmethod
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any


class Page(BaseHTTPRequestHandler, ABC):
    """Answers a request; it logs none, since one comes every few seconds."""

    @abstractmethod
    def respond(self) -> None:
        """Answer a GET of ``path``."""

    def do_GET(self) -> None:
        """Answer a request."""
        self.respond()

    def answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """Name the product, not Python's release."""
        return "callboard"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class AddressServer(ThreadingHTTPServer):
    """A server on an address of this machine.

    Parameters:
        address: host and port; port 0 is a free one.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], page: type[Page]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, page)

    def server_bind(self) -> None:
        """Bind without a look-up of this machine's name, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
