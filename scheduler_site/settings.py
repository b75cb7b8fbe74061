"""The settings of Callboard's own site, from environment variables; ``tasks/conf.py`` has all others.

``.env`` in the project's folder is read too (ENV_FILE names another), and so are the addresses of a running
``manage.py up``; the environment wins over both. An empty value counts as not set.
"""

from pathlib import Path
from typing import Any

from scheduler_site import addresses, bundled_servers, env
from scheduler_site.embedded import private
from tasks.conf import Conf
from tasks.setting import Choice, Flag, Integer, Names, Origins, PathPrefix, Rate, Seconds

BASE_DIR = Path(__file__).resolve().parent.parent
#: Private data of ``manage.py up``: credentials, logs, the servers' files.
VAR_DIR = BASE_DIR / "var"

env.begin()
# Host names of servers whose logins ENV_FILE has, separated by commas; docker-compose.yml sets it.
bundled_servers.settle(env.read("BUNDLED_HOSTS", Names([])))
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
DEBUG = env.read("DEBUG", Flag(False))
# Signs sessions and CSRF tokens; the api does not start without one. At least 32 random characters, unless DEBUG.
SECRET_KEY = env.text("SECRET_KEY", "only-for-development" if DEBUG else "")
# Host names the site answers to, separated by commas.
ALLOWED_HOSTS = env.read("ALLOWED_HOSTS", Names(["localhost", "127.0.0.1", "[::1]"]))
# Whether people reach the site over HTTPS; then cookies are never sent over plain HTTP. Default: unless DEBUG.
HTTPS = env.read("HTTPS", Flag(not DEBUG))
# Whether requests over plain HTTP are redirected to HTTPS, probes excepted. Behind a proxy this needs TRUSTED_PROXIES.
HTTPS_REDIRECT = env.read("HTTPS_REDIRECT", Flag(False))
# How long browsers insist on HTTPS for this host (Strict-Transport-Security), in seconds; 0 = not told. They are told
# over HTTPS only. Default: an hour with HTTPS, else 0; use a year (31536000) once HTTPS is there to stay.
HSTS_SECONDS = env.read("HSTS_SECONDS", Integer(3600 if HTTPS else 0))
# The path under which a proxy that strips it shows the site, such as /board. A proxy that passes it on needs gunicorn's
# own variable SCRIPT_NAME instead. Default: none.
FORCE_SCRIPT_NAME = env.read("FORCE_SCRIPT_NAME", PathPrefix(None))
# Origins (https://host) whose forms are accepted, for proxies that change the host name and are not in TRUSTED_PROXIES,
# separated by commas.
CSRF_TRUSTED_ORIGINS = env.read("CSRF_TRUSTED_ORIGINS", Names([]))
# Origins (https://host) whose web pages may call the API, with a token and never with cookies, separated by commas;
# * means all. Default: none.
CORS_ALLOWED_ORIGINS = env.read("CORS_ALLOWED_ORIGINS", Origins([]))
# The lowest level of log lines that are written.
LOG_LEVEL = env.read("LOG_LEVEL", Choice("INFO", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]))
# json: one object per line; console: for people; auto: console on a terminal, json elsewhere.
LOG_FORMAT = env.read("LOG_FORMAT", Choice("auto", ["auto", "json", "console"]))

# --- PostgreSQL and the broker -----------------------------------------------------------------------------------

# postgres://user:password@host:5432/name; POSTGRES_HOST, _PORT, _DB, _USER and _PASSWORD are understood as well.
DATABASE_URL = env.tried(
    lambda: addresses.database_url("DATABASE_URL", addresses.database_url_from_parts()), default=""
)
# The same database without a pooler in between, for LISTEN and the leader's session. Default: DATABASE_URL.
DIRECT_DATABASE_URL = env.tried(
    lambda: addresses.database_url("DIRECT_DATABASE_URL", DATABASE_URL), default=DATABASE_URL
)
# How long an idle connection of the api is kept, in seconds.
DATABASE_MAX_AGE_SECONDS = env.read("DATABASE_MAX_AGE_SECONDS", Seconds(60))
# Both are explained in tasks/conf.py, as all settings of the scheduler are.
BROKER_URL = env.tried(addresses.broker_url, default="")
REDIS_URL = BROKER_URL and env.tried(lambda: addresses.redis_url(BROKER_URL), default="")

# --- Requests to the api, the admin included ---------------------------------------------------------------------

# How many connections an api process has at most.
API_CONNECTIONS = env.read("API_CONNECTIONS", Integer(1000, minimum=10))
# How long a request waits for a thread while none of its kind gets one; then it gets a 503.
REQUEST_QUEUE_SECONDS = env.read("REQUEST_QUEUE_SECONDS", Seconds(5, minimum=0.1))
# How long a client may take to send a request's head, and again for its body; the next setting adds to that.
REQUEST_HEAD_SECONDS = env.read("REQUEST_HEAD_SECONDS", Seconds(10, minimum=0.1))
# A body that arrives, or a response that is read, gets one more second for each of these bytes.
REQUEST_BYTES_PER_SECOND = env.read("REQUEST_BYTES_PER_SECOND", Integer(16 * 1024, minimum=1))
# How often a client address may try to log in to the admin with one user name, and with any; 0 = no limit.
LOGIN_RATE_LIMIT = env.read("LOGIN_RATE_LIMIT", Rate("10/m"))
LOGIN_ADDRESS_RATE_LIMIT = env.read("LOGIN_ADDRESS_RATE_LIMIT", Rate("30/m"))

# --- The scheduler -----------------------------------------------------------------------------------------------


def _django_database(url: str) -> dict[str, Any]:
    return env.tried(
        lambda: addresses.database_settings(url, max_age_seconds=DATABASE_MAX_AGE_SECONDS), default=dict[str, Any]()
    )


_database, _direct_database = _django_database(DATABASE_URL), _django_database(DIRECT_DATABASE_URL)
#: The settings of tasks/conf.py, by name.
SCHEDULER = env.read_all(
    Conf,
    fixed={
        "BASE_DIR": BASE_DIR,
        "VAR_DIR": VAR_DIR,
        "BROKER_URL": BROKER_URL,
        "REDIS_URL": REDIS_URL,
        "DIRECT_DATABASE": {} if _direct_database == _database else _direct_database,
        **{name: vars(Conf)[name].default for name in ("DRAMATIQ_AUTODISCOVER_MODULES", "DRAMATIQ_IGNORED_MODULES")},
    },
    defaults={"BUILTIN_ACTORS": DEBUG, "METRICS_DIR": VAR_DIR / "metrics"},
)
globals().update(SCHEDULER)

# --- Django ------------------------------------------------------------------------------------------------------

# ACTOR_APPS names further apps, separated by commas: those with your actors.
INSTALLED_APPS = [
    # django.contrib.admin with Callboard's own site.
    "scheduler_site.control_plane.ControlPlaneConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    # Its templates, which those of this site may replace: Django gives the inputs of a date and time no labels.
    "django.forms",
    "rest_framework",
    "corsheaders",
    # Swagger UI's files, for /api/docs.
    "drf_spectacular_sidecar",
    # Before django_dramatiq, which builds the broker while it is loaded and is told which one.
    "tasks.apps.TasksConfig",
    "dlq.apps.DlqConfig",
    "django_dramatiq",
    *env.read("ACTOR_APPS", Names([])),
]
MIDDLEWARE = [
    # First, so that the others' refusals get a trace id, an access log line and the problem format too.
    "scheduler_site.site_requests.SiteRequestMiddleware",
    # Right behind it, because it knows the trace id.
    *(["tasks.api.tracing.TracingMiddleware"] if SCHEDULER["TRACING"] else []),
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
    "tasks.admin.zone.ViewersZoneMiddleware",
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
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
ROOT_URLCONF = "scheduler_site.urls"
WSGI_APPLICATION = "scheduler_site.wsgi.application"

DATABASES = {"default": _database}
# Counts logins, with Redis for all processes together. While Redis is away, logins are not limited.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        # A list, because Django splits text at the commas of a Sentinel URL.
        "LOCATION": [REDIS_URL],
        "KEY_PREFIX": f"{SCHEDULER['BROKER_NAMESPACE']}:__cache__",
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
DATA_UPLOAD_MAX_MEMORY_SIZE = SCHEDULER["MAX_BODY_BYTES"]
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

env.end()

# --- Django's Tasks framework ------------------------------------------------------------------------------------

# `@task` functions of django.tasks, or of the package django-tasks before Django 6, run as Callboard's tasks. Name your
# queues here, and options of actors for all functions: "QUEUES": ["default", "mail"], "OPTIONS": {"max_retries": 0}.
TASKS = {"default": {"BACKEND": "tasks.django_tasks.CallboardBackend"}}

# --- Logs --------------------------------------------------------------------------------------------------------

# Django calls this function once with LOGGING while it starts.
LOGGING_CONFIG = "tasks.telemetry.logs.configure"
LOGGING = {"level": LOG_LEVEL, "format": LOG_FORMAT}
