"""Gunicorn's settings; it finds this file by its name, and the command line overrides it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings

from tasks.conf import conf

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_site.settings")

logger_class = "tasks.telemetry.gunicorn_logger.GunicornLogger"

# A request reaches a thread when all of it has arrived; no other class of worker holds against slow clients.
worker_class = "scheduler_site.gunicorn_worker.Worker"
workers = conf.WEB_CONCURRENCY
threads = conf.API_THREADS
worker_connections = settings.API_CONNECTIONS
# Longer than a proxy keeps an idle connection to us, or it would send a request into one that we close.
keepalive = 75
# Whom to believe is the site's decision (TRUSTED_PROXIES), and gunicorn's own would come before it.
forwarded_allow_ips = ""
# Nobody uses it, and where the file system is read-only it only complains.
control_socket_disable = True

# In the containers of compose, --bind overrides this; there API_PORT is the port on the host.
bind = f"{conf.API_HOST}:{conf.API_PORT}"

_MANAGE = Path(__file__).with_name("manage.py")


def post_worker_init(worker: Any) -> None:
    """Answer requests that gunicorn itself refuses in the format of the API's errors; serve metrics and health."""
    # Imported here: code that the master loads stays in all workers, and a reload could not replace it.
    from scheduler_site import api_health
    from tasks.api import malformed_requests
    from tasks.telemetry import metrics_server

    malformed_requests.install()
    metrics_server.serve_all()
    api_health.serve(worker)


def on_starting(_server: object) -> None:
    """Wait for the database before the first worker starts, like every other process."""
    if os.environ.get("WAIT_SECONDS", "").strip() == "0":
        return
    # In a process of its own: code that the master loads stays in all workers, and a reload could not replace it.
    process = subprocess.Popen([sys.executable, str(_MANAGE), "waitready"])

    def stop(number: int, _frame: FrameType | None) -> None:
        process.terminate()
        sys.exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    code = process.wait()
    for number, handler in before.items():
        signal.signal(number, handler)
    if code:
        sys.exit(code)
