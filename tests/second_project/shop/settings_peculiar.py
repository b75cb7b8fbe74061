"""What projects have that Callboard's own site has not: other users, databases, times, paths and admin sites."""

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES, INSTALLED_APPS

# Users have UUIDs and log in by e-mail.
AUTH_USER_MODEL = "accounts.Person"
INSTALLED_APPS = ["shop.accounts", *INSTALLED_APPS]
# The shop's own tables are elsewhere, and its default database is Callboard's.
DATABASES["archive"] = {**DATABASES["default"], "NAME": f"{DATABASES['default']['NAME']}_archive"}
DATABASE_ROUTERS = ["shop.routers.Archive"]
TIME_ZONE = "Pacific/Auckland"
LANGUAGE_CODE = "de"
USE_I18N = True
USE_THOUSAND_SEPARATOR = True
ROOT_URLCONF = "shop.urls_peculiar"
FORCE_SCRIPT_NAME = "/intranet"
# Its views have other ideas of an API than Callboard's.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.StaticHTMLRenderer"],
    "EXCEPTION_HANDLER": "shop.urls_peculiar.no_handler",
}
CALLBOARD = {
    "BROKER_NAMESPACE": "shop",
    "KEEP_SUCCEEDED_SECONDS": "3600",
    "DEFAULT_QUEUE": "orders",
    "DRAMATIQ_MIDDLEWARE": ["shop.orders.middleware.Counting"],
}
