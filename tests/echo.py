"""A WSGI application for tests of the server: says what it got, and can be slow or send a lot."""

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_site.settings")
django.setup()

#: An answer that no socket's buffer holds.
LARGE_BYTES = 30_000_000


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request: ``/large``, ``…/stuck?until=FILE``, ``/unread``, or anything else as an echo."""
    path = environ["PATH_INFO"]
    if path == "/large":
        start_response("200 OK", [("Content-Length", str(LARGE_BYTES))])
        return [b"x" * LARGE_BYTES]
    if path.endswith("/stuck"):
        until = Path(parse_qs(environ["QUERY_STRING"])["until"][0])
        while not until.exists():
            time.sleep(0.01)
    body = b"" if path == "/unread" else environ["wsgi.input"].read()
    seen = {"method": environ["REQUEST_METHOD"], "path": path, "size": len(body), "peer": environ["REMOTE_ADDR"]}
    answer = json.dumps(seen | {"scheme": environ["wsgi.url_scheme"]}).encode() + b"\n"
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
