"""``manage.py runscheduler``: dispatch and repairs; run two, of which one leads."""

import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scheduler_site.waiting import wait_until_ready
from tasks import log_writer
from tasks.conf import IN_PROCESS_URL, conf
from tasks.contract import readiness
from tasks.management import serving
from tasks.scheduler.process import Scheduler
from tasks.telemetry import metrics_server
from tasks.telemetry.health import Health
from tasks.worker import process


class Command(BaseCommand):
    """Run a scheduler until SIGTERM or Ctrl-C."""

    help = (
        "Run a scheduler, which dispatches due tasks and repairs what crashes leave behind. Run two or more: one "
        "leads, the others stand by. With BROKER_URL=inprocess:// workers must run in the same process: --with-workers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the options."""
        parser.add_argument("--with-workers", action="store_true", help="run workers in this process as well")
        parser.add_argument(
            "-t",
            "--threads",
            type=int,
            default=8,
            help="with --with-workers: tasks to run at the same time (default: 8)",
        )
        serving.add_arguments(parser.add_argument_group("with --with-workers"))

    def handle(self, *, with_workers: bool, threads: int, queues: list[str], bands: list[str], **_: Any) -> None:
        """Run the scheduler."""
        if conf.BROKER_URL == IN_PROCESS_URL and not with_workers:
            raise CommandError(
                "BROKER_URL is inprocess://, which no other process can reach: "
                "set BROKER_URL=redis://… or add --with-workers"
            )
        served = serving.served(queues, bands) if with_workers else []
        log_writer.start()
        health = Health("scheduler", components=readiness.to_run_tasks)
        health.serve()
        wait_until_ready()
        stop = threading.Event()
        process.handle_signals(stop)
        scheduler = Scheduler()
        metrics_server.serve_counters()
        scheduler.start()
        health.started(scheduler.faults)
        code = 0
        if with_workers:
            code = process.run(queues=set(served) or None, threads=threads, stop=stop)
        else:
            stop.wait()
        health.stop()
        scheduler.stop()
        log_writer.end_process(code)
