"""All settings, from environment variables: each one once, with its unit and its default.

``.env`` in the project's folder is read too (ENV_FILE names another), and so are the addresses of a running
``manage.py up``; the environment wins over both. An empty value counts as not set.
"""

import os
from pathlib import Path

from scheduler_site import addresses, env
from scheduler_site.embedded import private

BASE_DIR = Path(__file__).resolve().parent.parent
#: Private data of ``manage.py up``: credentials, logs, the servers' files.
VAR_DIR = BASE_DIR / "var"

env.load_file(BASE_DIR / env.text("ENV_FILE", ".env"))
env.refuse_foreign()
# `manage.py up` starts private servers for those that the environment does not name.
PRIVATE_DATABASE = not addresses.database_is_named()
PRIVATE_BROKER = not addresses.broker_is_named()
if PRIVATE_DATABASE and private.is_running(VAR_DIR / "up.lock"):
    # So that `manage.py shell` and other commands work in a second terminal beside a running `up`.
    env.load_file(VAR_DIR / "run.env")

# --- Site --------------------------------------------------------------------------------------------------------

# Tracebacks in the browser and a throw-away SECRET_KEY: for development only.
DEBUG = env.flag("DEBUG", False)
# Signs sessions and CSRF tokens; the api does not start without one. At least 32 random characters, unless DEBUG.
SECRET_KEY = env.text("SECRET_KEY", "only-for-development" if DEBUG else "")
# Host names the site answers to, separated by commas.
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
# Whether people reach the site over HTTPS; then cookies are never sent over plain HTTP. Default: unless DEBUG.
HTTPS = env.flag("HTTPS", not DEBUG)
# Whether requests over plain HTTP are redirected to HTTPS, probes excepted. Behind a proxy this needs TRUSTED_PROXIES.
HTTPS_REDIRECT = env.flag("HTTPS_REDIRECT", False)
# How long browsers insist on HTTPS for this host (Strict-Transport-Security), in seconds; 0 = not told. They are told
# over HTTPS only. Default: an hour with HTTPS, else 0; use a year (31536000) once HTTPS is there to stay.
HSTS_SECONDS = env.integer("HSTS_SECONDS", 3600 if HTTPS else 0)
# Further names of fields whose values are masked at every door and in the log, separated by commas (iban, pin).
# They are found as whole words of a name, in upper or lower case, with any separators.
SECRET_FIELDS = env.field_names("SECRET_FIELDS")
# The path under which a proxy that strips it shows the site, such as /board. A proxy that passes it on needs gunicorn's
# own variable SCRIPT_NAME instead. Default: none.
FORCE_SCRIPT_NAME = env.path_prefix("FORCE_SCRIPT_NAME")
# Origins (https://host) whose forms are accepted, for proxies that change the host name and are not in TRUSTED_PROXIES,
# separated by commas.
CSRF_TRUSTED_ORIGINS = env.names("CSRF_TRUSTED_ORIGINS", [])
# Origins (https://host) whose web pages may call the API, with a token and never with cookies, separated by commas;
# * means all. Default: none.
CORS_ALLOWED_ORIGINS = env.origins("CORS_ALLOWED_ORIGINS")
# The lowest level of log lines that are written.
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
# json: one object per line; console: for people; auto: console on a terminal, json elsewhere.
LOG_FORMAT = env.choice("LOG_FORMAT", "auto", ("auto", "json", "console"))

# --- PostgreSQL and the broker -----------------------------------------------------------------------------------

# postgres://user:password@host:5432/name; POSTGRES_HOST, _PORT, _DB, _USER and _PASSWORD are understood as well.
DATABASE_URL = addresses.database_url("DATABASE_URL", addresses.database_url_from_parts())
# The same database without a pooler in between, for LISTEN and the leader's session. Default: DATABASE_URL.
DIRECT_DATABASE_URL = addresses.database_url("DIRECT_DATABASE_URL", DATABASE_URL)
# How long a starting process waits for the database and its migrations before it gives up; 0 = it does not check.
WAIT_SECONDS = env.seconds("WAIT_SECONDS", 60)
# How long an idle connection of the api is kept, in seconds.
DATABASE_MAX_AGE_SECONDS = env.seconds("DATABASE_MAX_AGE_SECONDS", 60)
# How long a request to the api, the admin included, may use the database; then it gets a 503.
REQUEST_DATABASE_SECONDS = env.seconds("REQUEST_DATABASE_SECONDS", 10, minimum=1)
# redis://, rediss://, redis+sentinel://host:port,host:port/service, or inprocess:// for scheduler and workers in one
# process. Default: REDIS_URL, else inprocess://.
BROKER_URL = addresses.broker_url()
# Prefix of every key in Redis; two installations on one Redis need two.
BROKER_NAMESPACE = env.text("BROKER_NAMESPACE", "callboard")
# Redis of the submission limits. Default: BROKER_URL if that is Redis.
REDIS_URL = addresses.redis_url(BROKER_URL)

# --- Defaults of a task ------------------------------------------------------------------------------------------

# The queue of actors that name no queue.
DEFAULT_QUEUE = env.text("DEFAULT_QUEUE", "default")
# 1 to 10; 10 runs first.
DEFAULT_PRIORITY = env.integer("DEFAULT_PRIORITY", 5, minimum=1, maximum=10)
# Take Dramatiq's own defaults for the next four: 20 retries, 15 seconds, 7 days, 10 minutes.
DRAMATIQ_DEFAULTS = env.flag("DRAMATIQ_DEFAULTS", False)
# Retries after the first failure.
DEFAULT_MAX_RETRIES = env.integer("DEFAULT_MAX_RETRIES", 20 if DRAMATIQ_DEFAULTS else 3)
# The delay before the first retry; each further retry doubles it. Up to a quarter of jitter is added.
DEFAULT_MIN_BACKOFF_SECONDS = env.seconds("DEFAULT_MIN_BACKOFF_SECONDS", 15 if DRAMATIQ_DEFAULTS else 2)
# The longest delay before a retry, without the jitter.
DEFAULT_MAX_BACKOFF_SECONDS = env.seconds("DEFAULT_MAX_BACKOFF_SECONDS", 604_800 if DRAMATIQ_DEFAULTS else 3600)
# How long one execution may take before it is interrupted; 0 = no limit.
DEFAULT_TIME_LIMIT_SECONDS = env.seconds("DEFAULT_TIME_LIMIT_SECONDS", 600 if DRAMATIQ_DEFAULTS else 300)

# --- Limits ------------------------------------------------------------------------------------------------------

# The largest body of a request, in bytes.
MAX_BODY_BYTES = env.integer("MAX_BODY_BYTES", 4 * 1024 * 1024, minimum=1024)
# The largest payload of a task, as JSON, in bytes.
MAX_PAYLOAD_BYTES = env.integer("MAX_PAYLOAD_BYTES", 256 * 1024, minimum=1024)
# The largest result of a task, as JSON, in bytes.
MAX_RESULT_BYTES = env.integer("MAX_RESULT_BYTES", 256 * 1024, minimum=1024)
# How deep lists and objects may nest in a payload or result.
MAX_JSON_DEPTH = env.integer("MAX_JSON_DEPTH", 32, minimum=1, maximum=200)
# How many values a body may hold; a name counts as three more, an array or object as four. It bounds the time that it
# takes to read a body.
MAX_JSON_VALUES = env.integer("MAX_JSON_VALUES", 400_000, minimum=1_000)
# How many tasks a client address, and a token, may submit: 50/m, 5/s, 1000/h; 0 = no limit. Staff who
# may submit are exempt.
SUBMIT_RATE_LIMIT = env.rate("SUBMIT_RATE_LIMIT", "50/m")
# The most retries that its callers may ask for, and the least that they may ask for as the delay before the first retry
# and as the longest delay. Staff and what an actor declares itself are not bound.
SUBMIT_MOST_RETRIES = env.integer("SUBMIT_MOST_RETRIES", 100, maximum=10_000)
SUBMIT_LEAST_MIN_BACKOFF_SECONDS = env.seconds("SUBMIT_LEAST_MIN_BACKOFF_SECONDS", 1)
SUBMIT_LEAST_MAX_BACKOFF_SECONDS = env.seconds("SUBMIT_LEAST_MAX_BACKOFF_SECONDS", 60)
# Whether tasks are accepted while Redis is away, so that the limit cannot be checked.
SUBMIT_RATE_FAIL_OPEN = env.flag("SUBMIT_RATE_FAIL_OPEN", True)
# How many requests of a token, or of an address without a valid one, may be refused before further ones are refused
# unread: those that change something, and those with an unknown token. A refused body costs one more for each 64 kB.
# 0 = no limit. Staff who may submit are exempt.
REFUSED_RATE_LIMIT = env.rate("REFUSED_RATE_LIMIT", "600/m")
# How often a client address may try to log in to the admin with one user name, and with any; 0 = no limit.
LOGIN_RATE_LIMIT = env.rate("LOGIN_RATE_LIMIT", "10/m")
LOGIN_ADDRESS_RATE_LIMIT = env.rate("LOGIN_ADDRESS_RATE_LIMIT", "30/m")
# Addresses of proxies whose X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host are trusted, separated by commas;
# from others they are ignored.
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
# The api's port under `manage.py up`, under gunicorn without --bind, and on the host under compose.
API_PORT = env.integer("API_PORT", 8000, minimum=1, maximum=65535)
# How many api processes gunicorn starts on this machine; gunicorn reads the same variable.
WEB_CONCURRENCY = env.integer("WEB_CONCURRENCY", 1, minimum=1)
# How many requests each of them works on at once, and how many connections it has at most.
API_THREADS = env.integer("API_THREADS", 8, minimum=1)
API_CONNECTIONS = env.integer("API_CONNECTIONS", 1000, minimum=10)
# How long a request waits for a thread while none of its kind gets one; then it gets a 503.
REQUEST_QUEUE_SECONDS = env.seconds("REQUEST_QUEUE_SECONDS", 5, minimum=0.1)
# How long a client may take to send a request's head, and again for its body; the next setting adds to that.
REQUEST_HEAD_SECONDS = env.seconds("REQUEST_HEAD_SECONDS", 10, minimum=0.1)
# A body that arrives, or a response that is read, gets one more second for each of these bytes.
REQUEST_BYTES_PER_SECOND = env.integer("REQUEST_BYTES_PER_SECOND", 16 * 1024, minimum=1)
# How many worker processes may die under a task before it dies as `crash_loop`.
CRASH_LIMIT = env.integer("CRASH_LIMIT", 3, minimum=1)

# --- Retention: how long rows are kept after their end; 0 = for ever ---------------------------------------------

KEEP_SUCCEEDED_SECONDS = env.seconds("KEEP_SUCCEEDED_SECONDS", 86_400)
KEEP_CANCELLED_SECONDS = env.seconds("KEEP_CANCELLED_SECONDS", 7 * 86_400)
# Dead tasks stay at least until their dead letter is re-driven or discarded.
KEEP_DEAD_SECONDS = env.seconds("KEEP_DEAD_SECONDS", 30 * 86_400)
# Dead letters after they were re-driven or discarded; at least as long as their task exists and is DEAD.
KEEP_DEAD_LETTERS_SECONDS = env.seconds("KEEP_DEAD_LETTERS_SECONDS", 90 * 86_400)
# Open dead letters after the death; then they are discarded.
KEEP_OPEN_DEAD_LETTERS_SECONDS = env.seconds("KEEP_OPEN_DEAD_LETTERS_SECONDS", 0)
# The journal: who did what, through which door and why.
KEEP_JOURNAL_SECONDS = env.seconds("KEEP_JOURNAL_SECONDS", 365 * 86_400)
# The admin's own log of changes.
KEEP_ADMIN_LOG_SECONDS = env.seconds("KEEP_ADMIN_LOG_SECONDS", 365 * 86_400)
# The admin's sessions, after they expired.
KEEP_EXPIRED_SESSIONS_SECONDS = env.seconds("KEEP_EXPIRED_SESSIONS_SECONDS", 86_400)
# Worker processes that have ended.
KEEP_WORKERS_SECONDS = env.seconds("KEEP_WORKERS_SECONDS", 7 * 86_400)

# How long a submission's idempotency key is remembered, whatever happens to its task.
IDEMPOTENCY_KEY_SECONDS = env.seconds("IDEMPOTENCY_KEY_SECONDS", 86_400, minimum=1)

# --- The engine's clocks -----------------------------------------------------------------------------------------

# How often a worker sends a heartbeat.
HEARTBEAT_INTERVAL_SECONDS = env.seconds("HEARTBEAT_INTERVAL_SECONDS", 5, minimum=0.05)
# How long a worker counts as alive after its last heartbeat; then its tasks go to others.
WORKER_LEASE_SECONDS = env.seconds("WORKER_LEASE_SECONDS", 15, minimum=0.2)
# How long a scheduler leads without renewing its lease; then another takes over.
LEADER_LEASE_SECONDS = env.seconds("LEADER_LEASE_SECONDS", 10, minimum=0.2)
# How often the sweeper looks for lost workers, stuck tasks, lost hints and expired tasks.
SWEEP_INTERVAL_SECONDS = env.seconds("SWEEP_INTERVAL_SECONDS", 1, minimum=0.05)
# How long a task may be QUEUED before the sweeper asks the broker whether its hint is still there.
HINT_GRACE_SECONDS = env.seconds("HINT_GRACE_SECONDS", 10)
# How long a task may run past its time limit before it is taken from its worker as stuck.
STUCK_AFTER_SECONDS = env.seconds("STUCK_AFTER_SECONDS", 180)
# After each such time that a task is due, it ages: its effective priority grows by one; 0 = tasks do not age.
AGEING_SECONDS = env.seconds("AGEING_SECONDS", 60)
# How long running tasks may go on after a worker is asked to stop; then they are interrupted and requeued.
SHUTDOWN_GRACE_SECONDS = env.seconds("SHUTDOWN_GRACE_SECONDS", 30)
# After about how many tasks a worker process is replaced by a fresh one; 0 = never.
WORKER_MAX_TASKS = env.integer("WORKER_MAX_TASKS", 0, minimum=0)
# At which peak memory, in MB, a worker process is replaced by a fresh one; 0 = never.
WORKER_MAX_MEMORY_MB = env.integer("WORKER_MAX_MEMORY_MB", 0, minimum=0)

# --- Actors ------------------------------------------------------------------------------------------------------

# Whether echo, sleep and the demo actors exist. Default: the value of DEBUG; `manage.py up` switches them on.
BUILTIN_ACTORS = env.flag("BUILTIN_ACTORS", DEBUG)

# How long a request of `http_request` may take in total, from the look-up of the name to the last byte.
HTTP_REQUEST_TIMEOUT_SECONDS = env.seconds("HTTP_REQUEST_TIMEOUT_SECONDS", 30, minimum=0.1)
# How much of a response `http_request` keeps, in bytes.
HTTP_REQUEST_MAX_BYTES = env.integer("HTTP_REQUEST_MAX_BYTES", 100_000, minimum=1)
# Hosts that `http_request` may reach although their address is private, separated by commas.
HTTP_REQUEST_ALLOWED_HOSTS = env.names("HTTP_REQUEST_ALLOWED_HOSTS", [])

# --- Metrics -----------------------------------------------------------------------------------------------------

# The folder in which all processes of a machine keep their counters, so that each of them can report the sums.
METRICS_DIR = env.text("METRICS_DIR", str(VAR_DIR / "metrics"))
# An address such as 127.0.0.1:9191 on which the api serves /metrics without a token, apart from its port and threads;
# everyone who can reach it can read the metrics. Default: none, /metrics needs a token with tasks.view_worker.
METRICS_ADDRESS = env.address("METRICS_ADDRESS")
# The port on which scheduler and workers serve /metrics themselves; 0 = they do not.
METRICS_PORT = env.integer("METRICS_PORT", 0, minimum=0, maximum=65535)
# The address of that port; everyone who can reach it can read the metrics.
METRICS_HOST = env.text("METRICS_HOST", "127.0.0.1")
Path(METRICS_DIR).mkdir(mode=0o700, parents=True, exist_ok=True)
# prometheus_client reads it once, at its first import; without it each process would report only its own counters.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = METRICS_DIR

# --- Django ------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    # django.contrib.admin with Callboard's own site.
    "scheduler_site.control_plane.ControlPlaneConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "corsheaders",
    # Swagger UI's files, for /api/docs.
    "drf_spectacular_sidecar",
    # Builds the broker while it is loaded; `tasks` declares actors on it, so it comes first.
    "django_dramatiq",
    "tasks.apps.TasksConfig",
    "dlq.apps.DlqConfig",
]
MIDDLEWARE = [
    # First, so that the others' refusals get a trace id, an access log line and the problem format too.
    "tasks.api.middleware.RequestMiddleware",
    # Before those that may refuse a request: a page of another origin may then read the refusal.
    *(["corsheaders.middleware.CorsMiddleware"] if CORS_ALLOWED_ORIGINS else []),
    "scheduler_site.body_limit.BodyLimitMiddleware",
    "scheduler_site.request_budget.RequestBudgetMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "scheduler_site.urls"
WSGI_APPLICATION = "scheduler_site.wsgi.application"

DATABASES = {"default": addresses.database_settings(DATABASE_URL, max_age_seconds=DATABASE_MAX_AGE_SECONDS)}
# The settings of sessions that bypass the pooler; empty if there is none.
DIRECT_DATABASE = (
    addresses.database_settings(DIRECT_DATABASE_URL, max_age_seconds=DATABASE_MAX_AGE_SECONDS)
    if DIRECT_DATABASE_URL != DATABASE_URL
    else {}
)
# Counts logins, with Redis for all processes together. While Redis is away, logins are not limited.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"{BROKER_NAMESPACE}:__cache__",
        "OPTIONS": {"pool_class": "tasks.broker.redis_url.Pool", "socket_timeout": 1.0, "socket_connect_timeout": 1.0},
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False

# With the leading slash it is the path within the site; the storage puts the prefix before it.
STATIC_URL = "/static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "scheduler_site.static_files.PrefixedStaticFiles"},
}
# Where collectstatic puts files for a web server in front. Default: nowhere; the api serves them itself.
STATIC_ROOT = env.text("STATIC_ROOT") or None
WHITENOISE_USE_FINDERS = True

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# After a login without a page to go on to, or with an unsafe one.
LOGIN_REDIRECT_URL = "admin:index"
LOGIN_URL = "admin:login"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = HTTPS_REDIRECT
# Orchestrators probe over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|health|metrics)/?$"]
SECURE_HSTS_SECONDS = HSTS_SECONDS
# W005, W021: whether HSTS covers subdomains is for the owner of the domain, not of this host. W008: see HTTPS_REDIRECT.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
# No form here takes a file, and what strangers send must not fill the disk.
FILE_UPLOAD_HANDLERS = ["scheduler_site.body_limit.NoUploads"]
# The API accepts paths with and without the trailing slash; a redirect would lose the body of a POST.
APPEND_SLASH = False

CORS_ALLOW_ALL_ORIGINS = CORS_ALLOWED_ORIGINS == ["*"]
if CORS_ALLOW_ALL_ORIGINS:
    CORS_ALLOWED_ORIGINS = []
# Not the admin, and no cookies: a page of another origin must not act as whoever is logged in.
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_CREDENTIALS = False
CORS_ALLOW_HEADERS = [
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "traceparent",
    "x-trace-id",
]
CORS_EXPOSE_HEADERS = [
    *("ETag", "Idempotency-Replayed", "Location", "RateLimit", "RateLimit-Limit", "RateLimit-Policy"),
    *("RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "WWW-Authenticate", "X-Trace-Id"),
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "tasks.api.authentication.BearerTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "tasks.api.problems.problem_response",
    # No `?format=…`: every query parameter is checked by name.
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

# --- Dramatiq ----------------------------------------------------------------------------------------------------

_broker_class, _broker_options = addresses.broker_settings(BROKER_URL, namespace=BROKER_NAMESPACE)
DRAMATIQ_BROKER = {
    "BROKER": _broker_class,
    "OPTIONS": _broker_options,
    # In the order of their before-hooks. DbConnections first: it must close the connections of all others.
    "MIDDLEWARE": [
        "django_dramatiq.middleware.DbConnectionsMiddleware",
        "tasks.worker.event_loop.BoundedAsyncIO",
        "dramatiq.middleware.CurrentMessage",
        "tasks.worker.middleware.Compatibility",
        "tasks.worker.middleware.Retries",
        "tasks.worker.middleware.CaptureOutcome",
        "tasks.worker.middleware.WorkerProcess",
    ],
}
# The modules of every installed app that may declare actors.
DRAMATIQ_AUTODISCOVER_MODULES = ("actors", "tasks")
# Its `delete_old_tasks` deletes from a table that Callboard does not use.
DRAMATIQ_IGNORED_MODULES = ("django_dramatiq.tasks",)

# --- Django's Tasks framework ------------------------------------------------------------------------------------

# `@task` functions of django.tasks, or of the package django-tasks before Django 6, run as Callboard's tasks. Name your
# queues here, and options of actors for all functions: "QUEUES": ["default", "mail"], "OPTIONS": {"max_retries": 0}.
TASKS = {"default": {"BACKEND": "tasks.django_tasks.CallboardBackend"}}

# --- Logs --------------------------------------------------------------------------------------------------------

# Django calls this function once with LOGGING while it starts.
LOGGING_CONFIG = "tasks.telemetry.logs.configure"
LOGGING = {"level": LOG_LEVEL, "format": LOG_FORMAT}
