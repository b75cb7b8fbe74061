"""RabbitMQ by its URL: plain or over TLS, a virtual host, one node or several of a cluster.

``amqp://user:password@host:5672/vhost``, ``amqps://…`` for TLS (``?cacertfile=/path`` names the authority,
``certfile`` and ``keyfile`` the client's own certificate), ``amqp://user:password@host1,host2:5673/vhost`` for nodes
that are tried in order. Without a path the virtual host is ``/``, which can also be written ``/%2F``.
"""

import ssl
from urllib.parse import parse_qsl, unquote, urlsplit

import pika

#: A connection that is silent for so long is over; RabbitMQ and the client both send something twice as often.
HEARTBEAT_SECONDS = 20
#: Until an attempt to connect counts as failed.
CONNECT_SECONDS = 5.0


def parameters(url: str) -> list[pika.ConnectionParameters]:
    """Read the URL; one item for each node.

    Raises:
        ValueError, OSError: a port or an option is wrong, or a certificate cannot be read.

    >>> [(node.host, node.port, node.virtual_host) for node in parameters("amqp://u:p@a,b:1/shop")]
    [('a', 5672, 'shop'), ('b', 1, 'shop')]
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    userinfo, _, hosts = parts.netloc.rpartition("@")
    user, _, password = (unquote(part) for part in userinfo.partition(":"))
    is_tls = parts.scheme == "amqps"
    context = _tls(options) if is_tls else None
    found = []
    for host in hosts.split(","):
        where = urlsplit(f"//{host}")
        name = unquote(where.hostname or "localhost")
        found.append(
            pika.ConnectionParameters(
                host=name,
                port=where.port or (5671 if is_tls else 5672),
                virtual_host=unquote(parts.path[1:]) or "/",
                credentials=pika.PlainCredentials(user or "guest", password or "guest"),
                heartbeat=int(options.get("heartbeat", HEARTBEAT_SECONDS)),
                socket_timeout=float(options.get("connection_timeout", CONNECT_SECONDS)),
                stack_timeout=float(options.get("connection_timeout", CONNECT_SECONDS)),
                ssl_options=pika.SSLOptions(context, name) if context else None,
                client_properties={"connection_name": "callboard"},
            )
        )
    return found


def _tls(options: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("cacertfile"))
    if "certfile" in options:
        context.load_cert_chain(options["certfile"], options.get("keyfile"))
    if options.get("verify") == "verify_none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
