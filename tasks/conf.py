"""Callboard's own settings: each one once, with its unit and its default.

A project sets one under its name, or in the dictionary ``CALLBOARD``::

    CALLBOARD = {"BROKER_URL": "redis://127.0.0.1:6379/0", "KEEP_SUCCEEDED_SECONDS": 7 * 86_400}

Callboard's own site (``scheduler_site.settings``) reads all of them from environment variables of the same names. Code
reads them through ``conf``, at the moment of use. Django's settings stay where they are: ``django.conf.settings``.
"""

import hashlib
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from tasks import __version__
from tasks.setting import (
    Address,
    Choice,
    Entries,
    FieldNames,
    Flag,
    Folder,
    Integer,
    Names,
    Networks,
    Options,
    Rate,
    Seconds,
    Text,
    UrlTemplate,
    forget,
)

#: Scheduler and workers in one process, without a broker to install: ``runscheduler --with-workers``.
IN_PROCESS_URL = "inprocess://"
#: The environment variables by which platforms name the commit or release that runs, the most exact first.
PLATFORM_BUILDS = (
    "GIT_COMMIT",
    "GIT_REV",
    "SOURCE_COMMIT",
    "RENDER_GIT_COMMIT",
    "RAILWAY_GIT_COMMIT_SHA",
    "HEROKU_BUILD_COMMIT",
    "HEROKU_SLUG_COMMIT",
    "K_REVISION",
    "FLY_IMAGE_REF",
)
#: In characters.
LONGEST_BUILD = 100
#: What the templates of links may have in braces.
URL_NAMES = ("task_id", "trace_id", "actor", "queue", "from_ms", "until_ms")


class Conf:
    """The settings; an instance reads the project's."""

    # --- PostgreSQL and the broker -----------------------------------------------------------------------------------

    # What sessions that bypass a pooler have instead of DATABASES["default"]'s HOST, PORT and so on: LISTEN and the
    # leader's session. Default: nothing, there is no pooler.
    DIRECT_DATABASE = Options({})
    # redis://, rediss://, redis+sentinel://host:port,host:port/service, amqp:// or amqps:// for RabbitMQ, or
    # inprocess:// for scheduler and workers in one process. Default: REDIS_URL, else inprocess://.
    BROKER_URL = Text(lambda _: getattr(django_settings, "REDIS_URL", "") or IN_PROCESS_URL)
    # Prefix of every key in Redis and every queue of RabbitMQ; two installations on one broker need two.
    BROKER_NAMESPACE = Text("callboard")
    # The type of RabbitMQ's queues: classic, or quorum, which are replicated in a cluster and slower. Queues keep the
    # type that they were made with: to change it, delete them or take another BROKER_NAMESPACE.
    RABBITMQ_QUEUE_TYPE = Choice("classic", ["classic", "quorum"])
    # Redis of the submission limits. Default: BROKER_URL if that is Redis.
    REDIS_URL = Text(lambda conf: conf.BROKER_URL if conf.BROKER_URL.startswith(("redis", "unix:")) else "")
    # How long a starting process waits for the database and its migrations before it gives up; 0 = it does not check.
    WAIT_SECONDS = Seconds(60)

    # --- Defaults of a task ------------------------------------------------------------------------------------------

    # The queue of actors that name no queue.
    DEFAULT_QUEUE = Text("default")
    # 1 to 10; 10 runs first.
    DEFAULT_PRIORITY = Integer(5, minimum=1, maximum=10)
    # Take Dramatiq's own defaults for the next four: 20 retries, 15 seconds, 7 days, 10 minutes.
    DRAMATIQ_DEFAULTS = Flag(False)
    # Retries after the first failure.
    DEFAULT_MAX_RETRIES = Integer(lambda conf: 20 if conf.DRAMATIQ_DEFAULTS else 3)
    # The delay before the first retry; each further retry doubles it. Up to a quarter of jitter is added.
    DEFAULT_MIN_BACKOFF_SECONDS = Seconds(lambda conf: 15 if conf.DRAMATIQ_DEFAULTS else 2)
    # The longest delay before a retry, without the jitter.
    DEFAULT_MAX_BACKOFF_SECONDS = Seconds(lambda conf: 604_800 if conf.DRAMATIQ_DEFAULTS else 3600)
    # How long one execution may take before it is interrupted; 0 = no limit.
    DEFAULT_TIME_LIMIT_SECONDS = Seconds(lambda conf: 600 if conf.DRAMATIQ_DEFAULTS else 300)

    # --- Limits ------------------------------------------------------------------------------------------------------

    # The largest body of a request, in bytes.
    MAX_BODY_BYTES = Integer(4 * 1024 * 1024, minimum=1024)
    # The largest payload of a task, as JSON, in bytes.
    MAX_PAYLOAD_BYTES = Integer(256 * 1024, minimum=1024)
    # The largest result of a task, as JSON, in bytes.
    MAX_RESULT_BYTES = Integer(256 * 1024, minimum=1024)
    # The largest checkpoint of a task, the largest result of a step, and the largest payload of a signal, each as JSON,
    # in bytes.
    MAX_CHECKPOINT_BYTES = Integer(64 * 1024, minimum=1024)
    MAX_STEP_RESULT_BYTES = Integer(64 * 1024, minimum=1024)
    MAX_SIGNAL_BYTES = Integer(64 * 1024, minimum=1024)
    # How many steps, sleeps and waits a task may have.
    MAX_STEPS = Integer(1_000, minimum=1)
    # The tasks of one batch.
    MAX_BATCH_TASKS = Integer(100_000, minimum=1)
    # How many of an attempt's log lines are kept; the oldest are dropped.
    MAX_LOG_LINES = Integer(100, minimum=1, maximum=10_000)
    # How deep lists and objects may nest in a payload or result.
    MAX_JSON_DEPTH = Integer(32, minimum=1, maximum=200)
    # How many values a body may hold; a name counts as three more, an array or object as four. It bounds the time that
    # it takes to read a body.
    MAX_JSON_VALUES = Integer(400_000, minimum=1_000)
    # How many tasks a client address, and a token, may submit: 50/m, 5/s, 1000/h; 0 = no limit. Staff who may submit
    # are exempt.
    SUBMIT_RATE_LIMIT = Rate("50/m")
    # The most retries that its callers may ask for, and the least that they may ask for as the delay before the first
    # retry and as the longest delay. Staff and what an actor declares itself are not bound.
    SUBMIT_MOST_RETRIES = Integer(100, maximum=10_000)
    SUBMIT_LEAST_MIN_BACKOFF_SECONDS = Seconds(1)
    SUBMIT_LEAST_MAX_BACKOFF_SECONDS = Seconds(60)
    # Whether tasks are accepted while Redis is away, so that the limit cannot be checked.
    SUBMIT_RATE_FAIL_OPEN = Flag(True)
    # How many requests of a token, or of an address without a valid one, may be refused before further ones are refused
    # unread: those that change something, and those with an unknown token. A refused body costs one more for each
    # 64 kB. 0 = no limit. Staff who may submit are exempt.
    REFUSED_RATE_LIMIT = Rate("600/m")
    # Addresses of proxies whose X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host are trusted, separated by
    # commas; from others they are ignored.
    TRUSTED_PROXIES = Networks([])
    # How many worker processes may die under a task before it dies as `crash_loop`.
    CRASH_LIMIT = Integer(3, minimum=1)
    # Further names of fields whose values are masked at every door and in the log, separated by commas (iban, pin).
    # They are found as whole words of a name, in upper or lower case, with any separators.
    SECRET_FIELDS = FieldNames([])

    # --- Retention: how long rows are kept after their end; 0 = for ever ---------------------------------------------

    KEEP_SUCCEEDED_SECONDS = Seconds(86_400)
    KEEP_CANCELLED_SECONDS = Seconds(7 * 86_400)
    # Dead tasks, after their end and after their dead letter was discarded; so long a discard can be undone.
    KEEP_DEAD_SECONDS = Seconds(30 * 86_400)
    # Dead letters after they were re-driven or discarded; at least as long as their task exists and is DEAD.
    KEEP_DEAD_LETTERS_SECONDS = Seconds(90 * 86_400)
    # Open dead letters after the death, or after they were restored; then they are discarded.
    KEEP_OPEN_DEAD_LETTERS_SECONDS = Seconds(0)
    # The journal (who did what, through which door and why), and operations that have ended.
    KEEP_JOURNAL_SECONDS = Seconds(365 * 86_400)
    # The admin's own log of changes.
    KEEP_ADMIN_LOG_SECONDS = Seconds(365 * 86_400)
    # The admin's sessions, after they expired.
    KEEP_EXPIRED_SESSIONS_SECONDS = Seconds(86_400)
    # The statistics of tasks, which may outlive the tasks; and for how long they are kept by the hour, then by the day.
    KEEP_STATS_SECONDS = Seconds(400 * 86_400)
    KEEP_HOURLY_STATS_SECONDS = Seconds(35 * 86_400)
    # Worker processes that have ended.
    KEEP_WORKERS_SECONDS = Seconds(7 * 86_400)
    # How long a submission's idempotency key is remembered, whatever happens to its task.
    IDEMPOTENCY_KEY_SECONDS = Seconds(86_400, minimum=1)

    # --- The engine's clocks -----------------------------------------------------------------------------------------

    # How often a worker sends a heartbeat.
    HEARTBEAT_INTERVAL_SECONDS = Seconds(5, minimum=0.01)
    # How long a worker counts as alive after its last heartbeat; then its tasks go to others. Default: 15, at least
    # three heartbeats.
    WORKER_LEASE_SECONDS = Seconds(lambda conf: max(15, 3 * conf.HEARTBEAT_INTERVAL_SECONDS), minimum=0.2)
    # How long a scheduler leads without renewing its lease; then another takes over.
    LEADER_LEASE_SECONDS = Seconds(10, minimum=0.2)
    # How often the sweeper looks for lost workers, stuck tasks, lost hints and expired tasks.
    SWEEP_INTERVAL_SECONDS = Seconds(1, minimum=0.05)
    # How long a task may be QUEUED before the sweeper asks the broker whether its hint is still there.
    HINT_GRACE_SECONDS = Seconds(10)
    # How long a task may run past its time limit before it is taken from its worker as stuck.
    STUCK_AFTER_SECONDS = Seconds(180)
    # After each such time that a task is due, it ages: its effective priority grows by one; 0 = tasks do not age.
    AGEING_SECONDS = Seconds(60)
    # How long running tasks may go on after a worker is asked to stop; then they are interrupted and requeued.
    SHUTDOWN_GRACE_SECONDS = Seconds(30)
    # How many worker processes `runworkers` starts on a machine, and how many tasks each of them runs at the same time;
    # its options --processes and --threads win. Default: one process for each CPU.
    WORKER_PROCESSES = Integer(lambda _: os.cpu_count() or 1, minimum=1)
    WORKER_THREADS = Integer(8, minimum=1)
    # What lists call the machine of a worker; two machines need two names. Default: its host name.
    WORKER_NAME = Text(lambda _: socket.gethostname())
    # The build of your code that a worker runs: a commit, a release, the tag of an image. It is beside workers,
    # attempts and failures, and a new one is marked as a deploy. Default: the first of PLATFORM_BUILDS that the
    # platform sets, else Callboard's own version.
    BUILD = Text(lambda _: platform_build() or __version__, longest=LONGEST_BUILD)
    # After about how many tasks a worker process is replaced by a fresh one; 0 = never. Both limits: one process after
    # another, each once its successor works; until then it goes on.
    WORKER_MAX_TASKS = Integer(0)
    # At which peak memory, in MB, a worker process is replaced by a fresh one; 0 = never.
    WORKER_MAX_MEMORY_MB = Integer(0)

    # --- Schedules ---------------------------------------------------------------------------------------------------

    # Schedules by name, beside those that actors declare: {"nightly": {"actor": "report", "schedule": "0 6 * * *
    # Europe/Berlin", "payload": {}}}; docs/how-to.md has all fields.
    SCHEDULES = Entries({})

    # --- Actors ------------------------------------------------------------------------------------------------------

    # Whether echo, sleep and the demo actors exist. Default: the value of DEBUG on Callboard's own site, where
    # `manage.py up` switches them on; false in other projects.
    BUILTIN_ACTORS = Flag(False)
    # How long a request of `http_request` may take in total, from the look-up of the name to the last byte.
    HTTP_REQUEST_TIMEOUT_SECONDS = Seconds(30, minimum=0.1)
    # How much of a response `http_request` keeps, in bytes.
    HTTP_REQUEST_MAX_BYTES = Integer(100_000, minimum=1)
    # Hosts that `http_request` may reach although their address is private, separated by commas.
    HTTP_REQUEST_ALLOWED_HOSTS = Names([])

    # The modules of every installed app that may declare actors, and those that are left out; a package with `.*` is
    # left out whole. `delete_old_tasks` of django_dramatiq deletes from a table that Callboard does not use.
    DRAMATIQ_AUTODISCOVER_MODULES = Names(["actors", "tasks"])
    DRAMATIQ_IGNORED_MODULES = Names(["django_dramatiq.tasks"])
    # Classes of Dramatiq middleware that run after Callboard's own (sentry_dramatiq.SentryMiddleware).
    DRAMATIQ_MIDDLEWARE = Names([])

    # --- The api -----------------------------------------------------------------------------------------------------

    # How long a request, one of the admin included, may use the database; then it gets a 503.
    REQUEST_DATABASE_SECONDS = Seconds(10, minimum=0.1)

    # The address and port of the api under `manage.py up` and under gunicorn without --bind. Under compose the port is
    # that on the host.
    API_HOST = Text("127.0.0.1")
    API_PORT = Integer(8000, minimum=1, maximum=65535)
    # How many api processes gunicorn starts on this machine; gunicorn reads the same variable.
    WEB_CONCURRENCY = Integer(1, minimum=1)
    # How many requests each of them works on at once.
    API_THREADS = Integer(8, minimum=1)

    # --- Watching ----------------------------------------------------------------------------------------------------

    # How many tasks one process, of the api or of gRPC, watches for its clients at once, and how many of them for one
    # user; others are refused.
    MAX_WATCHERS = Integer(500, minimum=1)
    MAX_WATCHERS_PER_USER = Integer(100, minimum=1)
    # How often a process looks at the tasks that somebody watches; it looks at nothing while nobody does.
    WATCH_INTERVAL_SECONDS = Seconds(0.025, minimum=0.005)
    # How long a client may wait for an answer, and how long a stream of events goes on; then the client watches anew,
    # from the last event that it has.
    MAX_WAIT_SECONDS = Seconds(60, minimum=1)
    MAX_WATCH_SECONDS = Seconds(600, minimum=1)

    # --- gRPC --------------------------------------------------------------------------------------------------------

    # The address and port of `manage.py rungrpc`. Under compose the port is that on the host.
    GRPC_HOST = Text("127.0.0.1")
    GRPC_PORT = Integer(50051, minimum=1, maximum=65535)
    # How many calls it works on at once, and how many there may be with those that wait; others are refused.
    GRPC_THREADS = Integer(8, minimum=1)
    GRPC_MAX_CALLS = Integer(100, minimum=1)
    # Files in PEM format: its certificate (with those between it and the root) and key; without them calls are not
    # encrypted. With a CA, clients need a certificate of that CA as well (mTLS).
    GRPC_TLS_CERTIFICATE = Text("")
    GRPC_TLS_KEY = Text("")
    GRPC_TLS_CLIENT_CA = Text("")

    # --- Tracing ---------------------------------------------------------------------------------------------------

    # Whether spans are sent to an OpenTelemetry collector; the SDK's own variables say where and how many, such as
    # OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_SAMPLER. It needs pip install 'callboard[otel]'.
    TRACING = Flag(False)

    # --- Links of the admin ------------------------------------------------------------------------------------------

    # Where a task's page links to its log lines and its trace, such as https://grafana.example/trace/{trace_id}. Any of
    # task_id, trace_id, actor, queue, and the milliseconds since 1970 from_ms and until_ms. Default: no links.
    LOG_URL_TEMPLATE = UrlTemplate("", URL_NAMES)
    TRACE_URL_TEMPLATE = UrlTemplate("", URL_NAMES)

    # --- Files and metrics -------------------------------------------------------------------------------------------

    # The folder of manage.py.
    BASE_DIR = Folder(lambda _: Path.cwd())
    # Private files of commands, such as the logs of `callboard workers start`.
    VAR_DIR = Folder(lambda conf: conf.BASE_DIR / "var")
    # The folder in which all processes of a machine keep their counters, so that each of them can report the sums.
    # Default: PROMETHEUS_MULTIPROC_DIR, else a folder of this project in the system's temporary one; VAR_DIR/metrics on
    # Callboard's own site.
    METRICS_DIR = Folder(lambda conf: _metrics_folder(conf.BASE_DIR))
    # An address such as 127.0.0.1:9191 on which the api serves /metrics without a token, apart from its port and
    # threads; everyone who can reach it can read the metrics. Default: none, /metrics needs a token with
    # callboard.view_worker.
    METRICS_ADDRESS = Address(None)
    # The folder in which each process has a socket for health checks of its machine (`callboard healthcheck`).
    HEALTH_DIR = Folder(lambda conf: conf.METRICS_DIR / "health")
    # An address such as 0.0.0.0:9101 on which scheduler, workers and gRPC server answer /healthz, /startupz and /readyz
    # to an orchestrator; the api does so on its own port. Default: none.
    HEALTH_ADDRESS = Address(None)
    # The port on which scheduler and workers serve /metrics themselves; 0 = they do not.
    METRICS_PORT = Integer(0, maximum=65535)
    # The address of that port; everyone who can reach it can read the metrics.
    METRICS_HOST = Text("127.0.0.1")


def _metrics_folder(project: Path) -> Path:
    """Name a folder that all processes of a project know, and that another user's processes do not share."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        return Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    digest = hashlib.sha256(str(project).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir(), f"callboard-{os.getuid()}-{digest}")


def platform_build() -> str:
    """Return what the platform calls the commit or release that runs; "" if it does not say."""
    return next((os.environ[name][:LONGEST_BUILD] for name in PLATFORM_BUILDS if os.environ.get(name)), "")


conf = Conf()


def _forget(**_: Any) -> None:
    forget(conf)


# `override_settings()` and pytest-django's `settings` send it.
setting_changed.connect(_forget, dispatch_uid="callboard.conf")
