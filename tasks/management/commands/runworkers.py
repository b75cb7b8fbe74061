"""``manage.py runworkers``: worker processes under a supervisor."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from scheduler_site.waiting import wait_until_ready
from tasks import log_writer
from tasks.checks import sessions_that_do_not_fit
from tasks.conf import IN_PROCESS_URL, conf
from tasks.contract import readiness
from tasks.log import get_logger
from tasks.management import serving
from tasks.telemetry import metrics_server
from tasks.telemetry.health import Health
from tasks.worker.supervisor import Supervisor

log = get_logger(__name__)


class Command(BaseCommand):
    """Runs workers until SIGTERM or Ctrl-C; a second signal kills them."""

    help = (
        "Run worker processes. On SIGTERM or Ctrl-C they take no more tasks, let running ones finish within "
        "SHUTDOWN_GRACE_SECONDS, then interrupt and put back the rest. A second signal kills them.\n\n"
        "Examples:\n  manage.py runworkers\n"
        "  manage.py runworkers -p 4 -t 16 -Q default mail\n"
        "  manage.py runworkers --bands high      (only tasks of priority 8 to 10, of all queues)\n"
        "  manage.py runworkers -Q default.low    (only tasks of priority 1 to 3, of one queue)"
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Keep the line breaks of the examples."""
        from argparse import RawDescriptionHelpFormatter

        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the options."""
        parser.add_argument(
            "-p",
            "--processes",
            type=int,
            default=conf.WORKER_PROCESSES,
            help="the number of processes (default: WORKER_PROCESSES, one per CPU)",
        )
        parser.add_argument(
            "-t",
            "--threads",
            type=int,
            default=conf.WORKER_THREADS,
            help="tasks that each process runs at the same time (default: WORKER_THREADS, 8)",
        )
        serving.add_arguments(parser)

    def handle(self, *, processes: int, threads: int, queues: list[str], bands: list[str], **_: Any) -> None:
        """Run the supervisor."""
        if conf.BROKER_URL == IN_PROCESS_URL:
            raise CommandError(
                "BROKER_URL is inprocess://, which cannot reach another process: "
                "set BROKER_URL=redis://… or run `manage.py runscheduler --with-workers`"
            )
        if processes < 1 or threads < 1:
            raise CommandError(f"expected at least 1 process and 1 thread, got {processes} and {threads}")
        served = serving.served(queues, bands)
        log_writer.start()
        supervisor = Supervisor(
            processes=processes, threads=threads, queues=served, grace_seconds=conf.SHUTDOWN_GRACE_SECONDS
        )
        health = Health("workers", components=lambda: _components(supervisor))
        health.serve()
        wait_until_ready()
        _warn(processes, threads)
        metrics_server.serve_counters()
        health.started(supervisor.faults, is_started=lambda: supervisor.is_complete)
        code = supervisor.run()
        health.stop()
        log_writer.end_process(code)


def _components(supervisor: Supervisor) -> dict[str, str]:
    return {**readiness.to_run_tasks(), "processes": readiness.OK if supervisor.is_working else readiness.NONE}


def _warn(processes: int, threads: int) -> None:
    for message in sessions_that_do_not_fit(processes=processes, threads=threads):
        log.warning(message.msg, check=message.id, hint=message.hint)
    # The supervisor does not need the database again for a long time.
    connection.close()
